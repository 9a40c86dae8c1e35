// Cuts the root into tiles, one iteration of the grid each, and computes every producer inside the tile that needs it.
module attributes {transform.with_named_sequence} {
  transform.named_sequence @schedule(%kernel: !transform.any_op) {
    %root = transform.structured.match attributes {winze.root} in %kernel : (!transform.any_op) -> !transform.any_op
    %tiled, %grid = transform.structured.fuse %root tile_sizes [$tile$] {apply_cleanup, use_forall}
      : (!transform.any_op) -> (!transform.any_op, !transform.any_op)
    transform.yield
  }
}
