#version 450
// out[i] = a[i] && b[i] for i < n; bool is an i32 that is 0 or 1.
layout(local_size_x = 64) in;
layout(set = 0, binding = 0) readonly buffer A { int a[]; };
layout(set = 0, binding = 1) readonly buffer B { int b[]; };
layout(set = 0, binding = 2) writeonly buffer Out { int result[]; };
layout(push_constant) uniform Push { int n; };

void main() {
    uint group = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
    uint i = group * 64 + gl_LocalInvocationID.x;
    if (i < uint(n)) result[i] = a[i] & b[i];
}
