#version 450
#extension GL_EXT_shader_explicit_arithmetic_types_int64 : require
// out[i] = a[i] + b[i] for i < n.
layout(local_size_x = 64) in;
layout(set = 0, binding = 0) readonly buffer A { int64_t a[]; };
layout(set = 0, binding = 1) readonly buffer B { int64_t b[]; };
layout(set = 0, binding = 2) writeonly buffer Out { int64_t result[]; };
layout(push_constant) uniform Push { int n; };

void main() {
    uint group = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
    uint i = group * 64 + gl_LocalInvocationID.x;
    if (i < uint(n)) result[i] = a[i] + b[i];
}
