// Each row of x times a matrix.
#rows = affine_map<()[s0] -> (s0)>
func.func @main(%x: tensor<?x2xf32, #rows> {graph.name = "x"}) -> (tensor<?x2xf32, #rows> {graph.name = "y"}) attributes {graph.symbols = ["rows"]} {
  %w = graph.constant dense<[[1.0, -1.0], [1.0, 1.0]]> : tensor<2x2xf32>
  %y = graph.dot_general %x, %w batch [] x [] contract [1] x [0] : tensor<?x2xf32, #rows>, tensor<2x2xf32>
  return %y : tensor<?x2xf32, #rows>
}
