// What optimized programs compile and run in `cargo xtask test`: convolution, products, a reduction, a loop, symbolic extents.
#rows = affine_map<()[s0] -> (s0)>
func.func @main(%x: tensor<?x2x8x8xf32, #rows> {graph.name = "x"}) -> (tensor<?x4xf32, #rows> {graph.name = "y"}, tensor<?x4xf32, #rows> {graph.name = "z"})
    attributes {graph.symbols = ["rows"]} {
  %zero = graph.constant dense<0> : tensor<i64>
  %one = graph.constant dense<1> : tensor<i64>
  %turns = graph.constant dense<3> : tensor<i64>
  %filter = graph.constant dense<0.125> : tensor<4x2x3x3xf32>
  %weights = graph.constant dense<[[1.0, -1.0, 0.5, 0.25], [0.5, 1.0, -0.25, 2.0], [1.5, 0.0, 1.0, -1.0], [0.0, 2.0, -0.5, 0.75]]> : tensor<4x4xf32>
  %c = graph.conv %x, %filter strides [1, 1] low [1, 1] high [1, 1] dilation [1, 1] x [1, 1] groups 1 : tensor<?x2x8x8xf32, #rows>, tensor<4x2x3x3xf32>
  %t = graph.tanh %c : tensor<?x4x8x8xf32, #rows>
  %s = graph.reduce "add" %t axes [2, 3] : tensor<?x4x8x8xf32, #rows>
  %i, %z = graph.while %zero, %s : tensor<i64>, tensor<?x4xf32, #rows> while {
  ^bb0(%at: tensor<i64>, %state: tensor<?x4xf32, #rows>):
    %more = graph.lt %at, %turns : tensor<i64>
    graph.yield %more : tensor<i1>
  } do {
  ^bb0(%at: tensor<i64>, %state: tensor<?x4xf32, #rows>):
    %next = graph.add %at, %one : tensor<i64>
    %p = graph.dot_general %state, %weights batch [] x [] contract [1] x [0] : tensor<?x4xf32, #rows>, tensor<4x4xf32>
    %q = graph.tanh %p : tensor<?x4xf32, #rows>
    graph.yield %next, %q : tensor<i64>, tensor<?x4xf32, #rows>
  } -> tensor<i64>, tensor<?x4xf32, #rows>
  %y = graph.softmax %z axis 1 : tensor<?x4xf32, #rows>
  return %y, %z : tensor<?x4xf32, #rows>, tensor<?x4xf32, #rows>
}
