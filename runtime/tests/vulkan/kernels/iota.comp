#version 450
// out[i] = i for i < n, one element per workgroup: grids beyond 65535 workgroups go along y.
layout(local_size_x = 1) in;
layout(set = 0, binding = 0) writeonly buffer Out { int result[]; };
layout(push_constant) uniform Push { int n; };

void main() {
    uint i = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
    if (i < uint(n)) result[i] = int(i);
}
