//! A stored reading <-> what was read. A line per text: `x,y` of its four corners separated by spaces, a tab, the text.

use crate::{
    Result, Text,
    geometry::{Point, Quad},
};
use std::path::Path;

/// Boxes overlap by at least this (area of the intersection over area of the union): corners are rounded to pixels, and pixels on the border of
/// a core may fall either way.
const OVERLAP: f32 = 0.8;

pub fn read(path: &Path) -> Result<Vec<Text>> {
    let content = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    content
        .lines()
        .map(|line| parse(line).ok_or_else(|| format!("{}: \"{line}\" is no text with corners", path.display()).into()))
        .collect()
}

fn parse(line: &str) -> Option<Text> {
    let (corners, text) = line.split_once('\t')?;
    let point = |word: &str| word.split_once(',').and_then(|(x, y)| Some([x.parse().ok()?, y.parse().ok()?]));
    let corners: Vec<Point> = corners.split(' ').map(point).collect::<Option<_>>()?;
    Some(Text { corners: Quad(corners.try_into().ok()?), text: text.to_owned() })
}

/// The smallest overlap of a box with the expected one.
pub fn compare(texts: &[Text], expected: &[Text]) -> Result<f32> {
    if texts.len() != expected.len() {
        return Err(format!("{} texts were read, {} are expected", texts.len(), expected.len()).into());
    }
    let mut smallest = 1.0f32;
    for want in expected {
        let nearest = texts.iter().map(|got| (got, got.corners.overlap(&want.corners))).max_by(|a, b| a.1.total_cmp(&b.1));
        let (got, overlap) = nearest.expect("as many texts as expected, which are not none here");
        if overlap < OVERLAP {
            return Err(format!("no text was found where \"{}\" is expected; the nearest box overlaps by {overlap:.2}", want.text).into());
        }
        if got.text != want.text {
            return Err(format!("\"{}\" was read where \"{}\" is expected", got.text, want.text).into());
        }
        smallest = smallest.min(overlap);
    }
    Ok(smallest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compares_texts_and_boxes() {
        let want = [parse("0,0 10,0 10,10 0,10\tone two").unwrap(), parse("0,20 10,20 10,30 0,30\tthree").unwrap()];
        let got: Vec<Text> = want.iter().rev().cloned().collect();
        assert_eq!(compare(&got, &want).unwrap(), 1.0);
        assert!(compare(&got[1..], &want).unwrap_err().to_string().contains("1 texts"));
        let other = Text { text: "four".into(), ..got[0].clone() };
        assert!(compare(&[other, got[1].clone()], &want).unwrap_err().to_string().contains("\"four\" was read"));
        let elsewhere = Text { corners: got[0].corners.grown(9.0), ..got[0].clone() };
        assert!(compare(&[elsewhere, got[1].clone()], &want).unwrap_err().to_string().contains("no text was found"));
        assert_eq!(parse("0,0 1,1\tx"), None);
    }
}
