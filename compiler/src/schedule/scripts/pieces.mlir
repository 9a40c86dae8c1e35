// Cuts a kernel that puts pieces into its destination: each iteration of the grid puts its part of every piece into its part of the destination.
module attributes {transform.with_named_sequence} {
  transform.named_sequence @schedule(%kernel: !transform.any_op) {
    %func = transform.structured.match ops {["func.func"]} in %kernel : (!transform.any_op) -> !transform.any_op
    %cut = transform.apply_registered_pass "cut-pieces" with options = {"tile" = "$pieces$"} to %func : (!transform.any_op) -> !transform.any_op
    transform.yield
  }
}
