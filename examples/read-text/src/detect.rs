//! A picture -> the boxes of its lines of text. The model gives each pixel the probability that it belongs to the shrunk core of a line
//! (differentiable binarization, Liao et al. 2020); connected cores become rectangles, which are grown back.

use crate::{
    Result,
    geometry::{Point, Quad, smallest_rectangle},
    picture::Picture,
};
use winze_runtime::{Session, TensorView};

/// Pixels above this belong to a core.
const CORE: f32 = 0.3;
/// Boxes whose mean probability is lower are dropped.
const SURE: f32 = 0.5;
/// How far a core grows, over its area divided by its perimeter.
const GROWTH: f32 = 1.6;
/// Smallest side of a core, in pixels.
const SMALLEST: f32 = 3.0;

/// Finds the lines, from top to bottom. The model was compiled for one size: the picture is scaled to fit, the rest stays grey.
pub fn lines(session: &mut Session, picture: &Picture) -> Result<Vec<Quad>> {
    let port = &session.program().manifest().functions[0].inputs[0];
    let dims: Option<Vec<i64>> = port.dims.iter().map(|dim| dim.as_constant()).collect();
    let dims = dims.filter(|dims| matches!(dims[..], [1, 3, (1..), (1..)]));
    let dims = dims.ok_or("the detection model does not take one picture of known size; compile it with --dim")?;
    let (height, width) = (dims[2] as usize, dims[3] as usize);
    let scale = (picture.width as f32 / width as f32).max(picture.height as f32 / height as f32);
    let mut planes = vec![0.0; 3 * height * width];
    for y in 0..(picture.height as f32 / scale) as usize {
        for x in 0..(picture.width as f32 / scale) as usize {
            let colour = picture.sample([(x as f32 + 0.5) * scale, (y as f32 + 0.5) * scale]);
            write_pixel(&mut planes, height * width, y * width + x, colour);
        }
    }
    let outputs = session.run(&[TensorView::of(&dims, &planes)])?;
    let map = outputs.get(0).and_then(|output| output.as_slice::<f32>()).filter(|map| map.len() == height * width);
    let cores = boxes(map.ok_or("the detection model gives no map of its input's size")?, width);
    let mut quads: Vec<Quad> = cores.iter().map(|core| core.map(|[x, y]| [x * scale, y * scale])).collect();
    quads.sort_by(|a, b| a.0[0][1].total_cmp(&b.0[0][1]));
    Ok(quads)
}

/// The models were trained on blue, green, red, from -1 to 1.
pub fn write_pixel(planes: &mut [f32], plane: usize, at: usize, [red, green, blue]: [f32; 3]) {
    for (channel, value) in [blue, green, red].into_iter().enumerate() {
        planes[channel * plane + at] = value / 127.5 - 1.0;
    }
}

/// A map of probabilities -> boxes.
fn boxes(map: &[f32], width: usize) -> Vec<Quad> {
    let mut found = vec![];
    for core in components(&grown_mask(map, width), width) {
        let points: Vec<Point> = core.iter().map(|at| [(at % width) as f32, (at / width) as f32]).collect();
        let Some(quad) = smallest_rectangle(&points).filter(|quad| quad.width().min(quad.height()) >= SMALLEST) else { continue };
        if mean_inside(map, width, &quad) < SURE {
            continue;
        }
        let distance = quad.width() * quad.height() * GROWTH / (2.0 * (quad.width() + quad.height()));
        found.push(quad.grown(distance));
    }
    found
}

/// Pixels of the cores, each a pixel larger to the right and down, which joins letters that nearly touch.
fn grown_mask(map: &[f32], width: usize) -> Vec<bool> {
    let core = |at: usize| map[at] > CORE;
    let grown = |at: usize| {
        let (left, up) = (!at.is_multiple_of(width), at >= width);
        core(at) || left && core(at - 1) || up && (core(at - width) || left && core(at - width - 1))
    };
    (0..map.len()).map(grown).collect()
}

/// Pixels that touch, also at corners, belong together.
fn components(mask: &[bool], width: usize) -> Vec<Vec<usize>> {
    let (mut left, mut found) = (mask.to_vec(), vec![]);
    let height = mask.len() / width;
    for start in 0..mask.len() {
        if !std::mem::take(&mut left[start]) {
            continue;
        }
        let (mut members, mut next) = (vec![start], 0);
        while let Some(&at) = members.get(next) {
            next += 1;
            let (x, y) = (at % width, at / width);
            for y in y.saturating_sub(1)..(y + 2).min(height) {
                for x in x.saturating_sub(1)..(x + 2).min(width) {
                    if std::mem::take(&mut left[y * width + x]) {
                        members.push(y * width + x);
                    }
                }
            }
        }
        found.push(members);
    }
    found
}

fn mean_inside(map: &[f32], width: usize, quad: &Quad) -> f32 {
    let (mut sum, mut count) = (0.0, 0);
    for (at, probability) in map.iter().enumerate() {
        if quad.contains([(at % width) as f32, (at / width) as f32]) {
            (sum, count) = (sum + probability, count + 1);
        }
    }
    sum / count.max(1) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_of_a_map() {
        let (width, height) = (40, 20);
        let mut map = vec![0.0; width * height];
        (5..10).for_each(|y| map[y * width + 4..y * width + 30].fill(0.9));
        map[15 * width + 20] = 0.9; // too small
        (14..19).for_each(|y| map[y * width + 30..y * width + 38].fill(0.35)); // not sure
        let found = boxes(&map, width);
        assert_eq!(found.len(), 1, "{found:?}");
        // 26 by 5 pixels grown by one to the right and down, their centres 26 by 5 apart.
        let by = 26.0 * 5.0 * GROWTH / (2.0 * 31.0);
        let want = Quad([[4.0, 5.0], [30.0, 5.0], [30.0, 10.0], [4.0, 10.0]]).grown(by);
        assert!(found[0].overlap(&want) > 0.999, "{found:?} {want:?}");
    }
}
