#version 450
// out[0] = sum of x[i] for i < n, which may be 0.
layout(local_size_x = 1) in;
layout(set = 0, binding = 0) readonly buffer X { float x[]; };
layout(set = 0, binding = 1) writeonly buffer Out { float total[]; };
layout(push_constant) uniform Push { int n; };

void main() {
    float sum = 0.0;
    for (int i = 0; i < n; ++i) sum += x[i];
    if (gl_WorkGroupID.x == 0) total[0] = sum;
}
