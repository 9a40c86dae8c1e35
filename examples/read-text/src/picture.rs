//! A PNG file <-> an RGB picture that can be sampled between its pixels and drawn on.

use crate::{
    Result,
    geometry::{Point, Quad},
};
use std::{
    fs::File,
    io::{BufReader, BufWriter},
    path::Path,
};

pub struct Picture {
    pub width: usize,
    pub height: usize,
    /// Red, green, blue.
    pixels: Vec<[u8; 3]>,
}

impl Picture {
    /// Any PNG; transparent pixels are laid over black.
    pub fn open(path: &Path) -> Result<Self> {
        let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let mut decoder = png::Decoder::new(BufReader::new(File::open(path).map_err(|e| failed(&e))?));
        decoder.set_transformations(png::Transformations::normalize_to_color8());
        let mut reader = decoder.read_info().map_err(|e| failed(&e))?;
        let size = reader.output_buffer_size().ok_or_else(|| failed(&"too large"))?;
        let mut bytes = vec![0; size];
        let info = reader.next_frame(&mut bytes).map_err(|e| failed(&e))?;
        let over_black = |value: u8, alpha: u8| (u16::from(value) * u16::from(alpha) / 255) as u8;
        let pixels = bytes[..info.buffer_size()].chunks_exact(info.color_type.samples()).map(|samples| match *samples {
            [grey] => [grey; 3],
            [grey, alpha] => [over_black(grey, alpha); 3],
            [r, g, b, alpha] => [r, g, b].map(|value| over_black(value, alpha)),
            _ => [samples[0], samples[1], samples[2]],
        });
        Ok(Self { width: info.width as usize, height: info.height as usize, pixels: pixels.collect() })
    }

    pub fn save(&self, path: &Path) -> Result<()> {
        let file = File::create(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let mut encoder = png::Encoder::new(BufWriter::new(file), self.width as u32, self.height as u32);
        encoder.set_color(png::ColorType::Rgb);
        encoder.write_header()?.write_image_data(self.pixels.as_flattened())?;
        Ok(())
    }

    /// The colour at a point, from the four pixels around it; pixel centres are at halves, the border goes on outside.
    pub fn sample(&self, [x, y]: Point) -> [f32; 3] {
        let place = |at: f32, count: usize| {
            let at = (at - 0.5).clamp(0.0, (count - 1) as f32);
            let low = at as usize;
            (low, (low + 1).min(count - 1), at - low as f32)
        };
        let ((x0, x1, u), (y0, y1, v)) = (place(x, self.width), place(y, self.height));
        let pixel = |x: usize, y: usize| self.pixels[y * self.width + x].map(f32::from);
        let [a, b, c, d] = [pixel(x0, y0), pixel(x1, y0), pixel(x0, y1), pixel(x1, y1)];
        std::array::from_fn(|i| (a[i] * (1.0 - u) + b[i] * u) * (1.0 - v) + (c[i] * (1.0 - u) + d[i] * u) * v)
    }

    /// Draws the border of a box, two pixels wide.
    pub fn outline(&mut self, corners: &Quad, colour: [u8; 3]) {
        for i in 0..4 {
            let (from, to) = (corners.0[i], corners.0[(i + 1) % 4]);
            let steps = (crate::geometry::distance(from, to) * 2.0).ceil().max(1.0);
            for step in 0..=steps as usize {
                let t = step as f32 / steps;
                let [x, y] = [from[0] + t * (to[0] - from[0]), from[1] + t * (to[1] - from[1])];
                for (dx, dy) in [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0)] {
                    let (x, y) = (x + dx - 0.5, y + dy - 0.5);
                    if x >= 0.0 && y >= 0.0 && (x as usize) < self.width && (y as usize) < self.height {
                        self.pixels[y as usize * self.width + x as usize] = colour;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_between_pixels() {
        let picture = Picture { width: 2, height: 1, pixels: vec![[0, 0, 0], [100, 50, 10]] };
        assert_eq!(picture.sample([1.0, 0.5]), [50.0, 25.0, 5.0]);
        assert_eq!(picture.sample([9.0, -3.0]), [100.0, 50.0, 10.0]);
    }

    #[test]
    fn opens_what_it_saves() {
        let path = std::env::temp_dir().join(format!("read-text-{}.png", std::process::id()));
        let picture = Picture { width: 2, height: 1, pixels: vec![[1, 2, 3], [4, 5, 6]] };
        picture.save(&path).unwrap();
        assert_eq!(Picture::open(&path).unwrap().pixels, picture.pixels);
        std::fs::remove_file(path).unwrap();
    }
}
