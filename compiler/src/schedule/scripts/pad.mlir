// As tile.mlir, and the padding inside a tile becomes a fill and an insertion.
module attributes {transform.with_named_sequence} {
  transform.named_sequence @schedule(%kernel: !transform.any_op) {
    %root = transform.structured.match attributes {winze.root} in %kernel : (!transform.any_op) -> !transform.any_op
    %tiled, %grid = transform.structured.fuse %root tile_sizes [$tile$] {apply_cleanup, use_forall}
      : (!transform.any_op) -> (!transform.any_op, !transform.any_op)
    %pads = transform.structured.match ops {["tensor.pad"]} in %kernel : (!transform.any_op) -> !transform.any_op
    %written = transform.structured.rewrite_in_destination_passing_style %pads : (!transform.any_op) -> !transform.any_op
    transform.yield
  }
}
