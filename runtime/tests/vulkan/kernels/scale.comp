#version 450
// out[i] = factor * x[i] for i < n; scalars follow the dims, aligned to 8 bytes, in 64 bits each.
layout(local_size_x = 64) in;
layout(set = 0, binding = 0) readonly buffer X { int x[]; };
layout(set = 0, binding = 1) writeonly buffer Out { int result[]; };
layout(push_constant) uniform Push { int n; layout(offset = 8) int factor; int factor_high; };

void main() {
    uint group = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
    uint i = group * 64 + gl_LocalInvocationID.x;
    if (i < uint(n)) result[i] = factor * x[i];
}
