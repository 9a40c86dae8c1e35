#batch = affine_map<()[s0] -> (s0)>
func.func @main(%x: tensor<?x4xf32, #batch> {graph.name = "x"}) -> (tensor<?x2xf32, #batch> {graph.name = "y"}) attributes {graph.symbols = ["batch"]} {
  %w1 = graph.weight "fc1.weight" : tensor<4x20xf32>
  %b1 = graph.constant dense<0.125> : tensor<20xf32>
  %0 = graph.dot_general %x, %w1 batch [] x [] contract [1] x [0] : tensor<?x4xf32, #batch>, tensor<4x20xf32>
  %1 = graph.broadcast %b1 axes [1] : tensor<20xf32> -> tensor<?x20xf32, #batch>
  %2 = graph.add %0, %1 : tensor<?x20xf32, #batch>
  %zero = graph.constant dense<0.0> : tensor<f32>
  %3 = graph.broadcast %zero axes [] : tensor<f32> -> tensor<?x20xf32, #batch>
  %4 = graph.maximum %2, %3 : tensor<?x20xf32, #batch>
  %w2 = graph.weight "fc2.weight" : tensor<20x2xf32>
  %5 = graph.dot_general %4, %w2 batch [] x [] contract [1] x [0] : tensor<?x20xf32, #batch>, tensor<20x2xf32>
  %6 = graph.softmax %5 axis 1 : tensor<?x2xf32, #batch>
  return %6 : tensor<?x2xf32, #batch>
}
