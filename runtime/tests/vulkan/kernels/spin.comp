#version 450
// Takes long: 1000 * `rounds` steps of a recurrence in one invocation. (Some drivers stop a loop after 65535 iterations.)
layout(local_size_x = 1) in;
layout(set = 0, binding = 0) writeonly buffer Out { uint result[]; };
layout(push_constant) uniform Push { int rounds; };

void main() {
    uint state = 1;
    for (int j = 0; j < 1000; ++j) {
        for (int i = 0; i < rounds; ++i) state = state * 1664525u + 1013904223u;
    }
    if (gl_WorkGroupID.x == 0) result[0] = state;
}
