//! Expressions against values written down by hand.

use super::*;
use winze_graph::types::ElementType::{F16, F32, I8, I32};

fn ints(store: &mut ConstantStore, dims: &[i64], values: impl IntoIterator<Item = i32>) -> String {
    let bytes = values.into_iter().flat_map(i32::to_le_bytes).collect();
    store.add("x", ConstantType::new(I32, dims), Source::Inline(bytes)).unwrap()
}

fn read(store: &ConstantStore, id: &str) -> (Vec<i64>, Vec<i32>) {
    let bytes = store.read(id).unwrap();
    (store.type_of(id).unwrap().dims.clone(), bytes.chunks(4).map(|x| i32::from_le_bytes(x.try_into().unwrap())).collect())
}

fn check(dims: &[i64], expression: impl FnOnce(String) -> Expression, expected_dims: &[i64], expected: &[i32]) {
    let mut store = ConstantStore::new();
    let count = dims.iter().product::<i64>() as i32;
    let x = ints(&mut store, dims, 1..=count);
    let id = store.add_expression("y", expression(x)).unwrap();
    assert_eq!(read(&store, &id), (expected_dims.to_vec(), expected.to_vec()));
    let mut streamed = vec![];
    store.write(&id, &mut streamed).unwrap();
    assert_eq!(store.hash(&id).unwrap(), blake3::hash(&streamed));
}

#[test]
fn layouts() {
    check(&[2, 3], |input| Expression::Transpose { input, permutation: vec![1, 0] }, &[3, 2], &[1, 4, 2, 5, 3, 6]);
    check(&[2, 3], |input| Expression::Reshape { input, dims: vec![6] }, &[6], &[1, 2, 3, 4, 5, 6]);
    check(
        &[2, 2],
        |input| Expression::Pad { input, low: vec![1, 0], high: vec![0, 1], value: 9i32.to_le_bytes().to_vec() },
        &[3, 3],
        &[9, 9, 9, 1, 2, 9, 3, 4, 9],
    );
    // K = 2, N = 3, panels of 2.
    check(&[2, 3], |input| Expression::PackMatrix { input, panel: 2 }, &[2, 2, 2], &[1, 2, 4, 5, 3, 0, 6, 0]);
    // O = 3, I = 1, 2 taps: [panel][tap][i][o]. O = 1, I = 2, 2 taps, either way.
    let filter = |channels_last| move |input| Expression::PackFilter { input, panel: 2, channels_last };
    check(&[3, 1, 2], filter(true), &[2, 2, 1, 2], &[1, 3, 2, 4, 5, 0, 6, 0]);
    check(&[1, 2, 2], filter(true), &[1, 2, 2, 2], &[1, 0, 3, 0, 2, 0, 4, 0]);
    check(&[1, 2, 2], filter(false), &[1, 2, 2, 2], &[1, 0, 2, 0, 3, 0, 4, 0]);
    // Four groups of one filter each become two: a filter sees two inputs, its own and one that is zero to it.
    let merge = |input| Expression::MergeGroups { input, groups: 4, merged: 2 };
    check(&[4, 1, 2], merge, &[4, 2, 2], &[1, 2, 0, 0, 0, 0, 3, 4, 5, 6, 0, 0, 0, 0, 7, 8]);
    check(&[0, 3], |input| Expression::Transpose { input, permutation: vec![1, 0] }, &[3, 0], &[]);
}

#[test]
fn casts_saturate_and_round() {
    let mut store = ConstantStore::new();
    let values: Vec<u8> = [300.7f32, -1.5, f32::NAN, 65520.0].iter().flat_map(|x| x.to_le_bytes()).collect();
    let x = store.add("x", ConstantType::new(F32, [4]), Source::Inline(values)).unwrap();
    let small = store.add_expression("i8", Expression::Cast { input: x.clone(), element: I8 }).unwrap();
    assert_eq!(&*store.read(&small).unwrap(), [127, 255, 0, 127]);
    let half = store.add_expression("f16", Expression::Cast { input: x, element: F16 }).unwrap();
    // 65520 rounds to infinity.
    assert_eq!(store.read(&half).unwrap()[6..], half::f16::INFINITY.to_le_bytes());
}

#[test]
fn what_does_not_fit_is_refused() {
    let mut store = ConstantStore::new();
    let x = ints(&mut store, &[2, 3], 0..6);
    let short = store.add("s", ConstantType::new(I32, [3]), Source::Inline(vec![0; 8]));
    assert!(matches!(short, Err(ConstantError::Size { found: 8, needed: 12, .. })));
    assert!(store.add("h", ConstantType::new(I32, [1 << 40, 1 << 40]), Source::Inline(vec![])).is_err());
    assert!(store.add_expression("t", Expression::Transpose { input: x.clone(), permutation: vec![0, 0] }).is_err());
    assert!(store.add_expression("r", Expression::Reshape { input: x, dims: vec![4] }).is_err());
    assert!(matches!(store.read("none"), Err(ConstantError::Unknown(_))));
    let evaluate = Box::new(|_: &ConstantStore| Ok(vec![0u8; 3]));
    let fold = store.add_expression("f", Expression::Fold { r#type: ConstantType::new(I32, [1]), evaluate }).unwrap();
    assert!(matches!(store.hash(&fold), Err(ConstantError::Size { found: 3, needed: 4, .. })));
}

#[test]
fn slices_and_reversals_move_elements() {
    check(&[2, 3], |input| Expression::Slice { input, starts: vec![0, 1], limits: vec![2, 3] }, &[2, 2], &[2, 3, 5, 6]);
    check(&[2, 3], |input| Expression::Reverse { input, axes: vec![1] }, &[2, 3], &[3, 2, 1, 6, 5, 4]);
    check(&[2, 3], |input| Expression::Reverse { input, axes: vec![0, 1] }, &[2, 3], &[6, 5, 4, 3, 2, 1]);
    let mut store = ConstantStore::new();
    let x = ints(&mut store, &[2, 3], 1..=6);
    assert!(store.add_expression("o", Expression::Slice { input: x.clone(), starts: vec![0, 0], limits: vec![3, 1] }).is_err());
    assert!(store.add_expression("a", Expression::Reverse { input: x, axes: vec![2] }).is_err());
}

#[test]
fn operands_are_joined_and_repeated() {
    let _registers_ops = crate::context::new_context();
    let mut store = ConstantStore::new();
    let x = ints(&mut store, &[2, 3], 1..=6);
    let column = ints(&mut store, &[2, 1], [7, 8]);
    let joined = store.add_expression("j", Expression::Concat { inputs: vec![x.clone(), column.clone()], axis: 1 }).unwrap();
    assert_eq!(read(&store, &joined), (vec![2, 4], vec![1, 2, 3, 7, 4, 5, 6, 8]));
    assert!(store.add_expression("j", Expression::Concat { inputs: vec![x.clone(), column.clone()], axis: 0 }).is_err());

    let row = ints(&mut store, &[3], [10, 20, 30]);
    let form = winze_graph::op::find("graph.sub").and_then(|definition| definition.scalar).unwrap();
    let minus = |store: &mut ConstantStore, input: &str, axes: &[usize]| {
        let operands = vec![Repeated { input: x.clone(), axes: vec![0, 1] }, Repeated { input: input.into(), axes: axes.to_vec() }];
        store.add_expression(
            "e",
            Expression::Elementwise { name: "graph.sub".into(), form, operands, r#type: ConstantType::new(I32, [2, 3]) },
        )
    };
    let by_row = minus(&mut store, &row, &[1]).unwrap();
    assert_eq!(read(&store, &by_row), (vec![2, 3], vec![-9, -18, -27, -6, -15, -24]));
    let by_column = minus(&mut store, &column, &[0, 1]).unwrap();
    assert_eq!(read(&store, &by_column), (vec![2, 3], vec![-6, -5, -4, -4, -3, -2]));
    assert!(minus(&mut store, &row, &[0]).is_err());
    assert!(minus(&mut store, &row, &[2]).is_err());
}

#[test]
fn side_files_round_trip() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    let mut store = ConstantStore::new();
    let x = ints(&mut store, &[2, 3], 1..=6);
    let y = store.add_expression("y", Expression::Transpose { input: x.clone(), permutation: vec![1, 0] }).unwrap();
    side_file::write(&store, [x.as_str(), y.as_str()], &path).unwrap();
    let mut loaded = ConstantStore::new();
    side_file::read(&mut loaded, &path).unwrap();
    for id in [&x, &y] {
        assert_eq!(read(&loaded, id), read(&store, id));
        assert!(matches!(loaded.source_of(id), Ok(Source::Mapped { .. })));
    }
    assert!(side_file::read(&mut loaded, &path).unwrap_err().to_string().contains("exists already"));
}
