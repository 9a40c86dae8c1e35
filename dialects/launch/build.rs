fn main() {
    winze_mlir_build::Dialect { name: "launch", td: "src/launch.td", include: &["src"] }.build();
}
