//! A line of text in a picture -> its characters. The line is cut out and straightened; the model gives, per column, the probability of
//! every character and of none; equal neighbours are one character (connectionist temporal classification, Graves et al. 2006).

use crate::{Result, detect::write_pixel, geometry::Quad, picture::Picture};
use prost::Message;
use std::path::Path;
use winze_runtime::{Session, TensorView};

/// Lines whose mean probability is lower are dropped.
const SURE: f32 = 0.5;
/// Boxes that are this much higher than wide hold text that runs upwards.
const UPRIGHT: f32 = 1.5;

/// What is needed of an ONNX model here: its metadata.
#[derive(Message)]
struct Model {
    #[prost(message, repeated, tag = "14")]
    metadata: Vec<Entry>,
}

#[derive(Message)]
struct Entry {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    value: String,
}

/// The characters that the model knows, by number: 0 is none, the last is the space.
pub fn characters(model: &Path) -> Result<Vec<String>> {
    let bytes = std::fs::read(model).map_err(|error| format!("{}: {error}", model.display()))?;
    let decoded = Model::decode(&bytes[..]).map_err(|error| format!("{}: {error}", model.display()))?;
    let entry = decoded.metadata.iter().find(|entry| entry.key == "character");
    let list = &entry.ok_or_else(|| format!("{} has no list of characters", model.display()))?.value;
    Ok([""].into_iter().chain(list.lines()).chain([" "]).map(str::to_owned).collect())
}

/// Reads one line; `None` where the model is not sure.
pub fn text(session: &mut Session, characters: &[String], picture: &Picture, corners: &Quad) -> Result<Option<String>> {
    let port = &session.program().manifest().functions[0].inputs[0];
    let dims: Vec<Option<i64>> = port.dims.iter().map(|dim| dim.as_constant()).collect();
    let &[_, Some(3), Some(height @ (1..)), width] = &dims[..] else {
        return Err("the recognition model does not take lines of one height; compile it with --dim".into());
    };
    let line = if corners.height() >= UPRIGHT * corners.width() {
        let [a, b, c, d] = corners.0;
        Quad([b, c, d, a])
    } else {
        *corners
    };
    // A model for one width gets the line at its left, or a longer one squeezed.
    let natural = (height as f32 * line.width() / line.height().max(1.0)).ceil().max(1.0) as i64;
    let width = width.unwrap_or(natural);
    let (height, width, used) = (height as usize, width as usize, natural.min(width) as usize);
    let mut planes = vec![0.0; 3 * height * width];
    for y in 0..height {
        for x in 0..used {
            let point = line.at((x as f32 + 0.5) / used as f32, (y as f32 + 0.5) / height as f32);
            write_pixel(&mut planes, height * width, y * width + x, picture.sample(point));
        }
    }
    let outputs = session.run(&[TensorView::of(&[1, 3, height as i64, width as i64], &planes)])?;
    let probabilities = outputs.get(0).and_then(|output| output.as_slice::<f32>());
    let probabilities = probabilities.filter(|values| values.len().is_multiple_of(characters.len()));
    Ok(decode(probabilities.ok_or("the recognition model's output does not fit its list of characters")?, characters))
}

/// Rows of one probability per character -> text.
fn decode(probabilities: &[f32], characters: &[String]) -> Option<String> {
    let (mut text, mut sum, mut count, mut last) = (String::new(), 0.0, 0, 0);
    for row in probabilities.chunks_exact(characters.len()) {
        let (best, probability) = row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).expect("0 is always a character");
        if best != 0 && best != last {
            text.push_str(&characters[best]);
            (sum, count) = (sum + probability, count + 1);
        }
        last = best;
    }
    (count > 0 && sum / count as f32 >= SURE).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(best: &[usize], sure: f32) -> Option<String> {
        let characters = ["", "a", "b", " "].map(str::to_owned);
        let mut rows = vec![0.0; best.len() * 4];
        best.iter().enumerate().for_each(|(row, best)| rows[row * 4 + best] = sure);
        decode(&rows, &characters)
    }

    #[test]
    fn joins_equal_neighbours() {
        assert_eq!(decoded(&[1, 1, 0, 1, 2, 2, 3, 3, 1, 0], 0.9).as_deref(), Some("aab a"));
        assert_eq!(decoded(&[0, 0], 0.9), None);
        assert_eq!(decoded(&[1, 2], 0.4), None);
    }

    #[test]
    fn finds_the_characters_of_a_model() {
        let entry = Entry { key: "character".into(), value: "a\nb".into() };
        let path = std::env::temp_dir().join(format!("read-text-{}.onnx", std::process::id()));
        std::fs::write(&path, Model { metadata: vec![entry] }.encode_to_vec()).unwrap();
        assert_eq!(characters(&path).unwrap(), ["", "a", "b", " "]);
        std::fs::remove_file(path).unwrap();
    }
}
