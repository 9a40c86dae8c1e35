#batch = affine_map<()[s0] -> (s0)>
func.func @main(%x: tensor<?x1x6x6xf32, #batch> {graph.name = "x"}) -> (tensor<?x8xf32, #batch> {graph.name = "y"}) attributes {graph.symbols = ["batch"]} {
  %filter = graph.weight "conv.weight" : tensor<2x1x3x3xf32>
  %0 = graph.conv %x, %filter strides [1, 1] low [0, 0] high [0, 0] dilation [1, 1] x [1, 1] groups 1 : tensor<?x1x6x6xf32, #batch>, tensor<2x1x3x3xf32>
  %bias = graph.constant dense<[0.5, -0.5]> : tensor<2xf32>
  %1 = graph.broadcast %bias axes [1] : tensor<2xf32> -> tensor<?x2x4x4xf32, #batch>
  %2 = graph.add %0, %1 : tensor<?x2x4x4xf32, #batch>
  %3 = graph.tanh %2 : tensor<?x2x4x4xf32, #batch>
  %4 = graph.reduce_window "max" %3 window [1, 1, 2, 2] strides [1, 1, 2, 2] low [0, 0, 0, 0] high [0, 0, 0, 0] dilation [1, 1, 1, 1] : tensor<?x2x4x4xf32, #batch>
  %5 = graph.reshape %4 : tensor<?x2x2x2xf32, #batch> -> tensor<?x8xf32, #batch>
  return %5 : tensor<?x8xf32, #batch>
}
