// As tile.mlir, and the contraction runs over blocks of its longest reduction: a block of the panel stays in the second-level cache
// while all rows of the tile pass over it.
module attributes {transform.with_named_sequence} {
  transform.named_sequence @schedule(%kernel: !transform.any_op) {
    %root = transform.structured.match attributes {winze.root} in %kernel : (!transform.any_op) -> !transform.any_op
    %tiled, %grid = transform.structured.fuse %root tile_sizes [$tile$] {apply_cleanup, use_forall}
      : (!transform.any_op) -> (!transform.any_op, !transform.any_op)
    %contraction = transform.structured.match attributes {winze.contraction} in %kernel : (!transform.any_op) -> !transform.any_op
    %block, %blocks = transform.structured.tile_using_for %contraction tile_sizes [$reduction$]
      : (!transform.any_op) -> (!transform.any_op, !transform.any_op)
    transform.yield
  }
}
