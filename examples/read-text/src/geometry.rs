//! Points -> convex hull -> the smallest rectangle around them, which may be turned; and areas and overlaps of convex polygons.

pub type Point = [f32; 2];

/// A convex quadrilateral: its corners clockwise (y points down), the first one is the top left corner of upright text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quad(pub [Point; 4]);

pub fn distance(a: Point, b: Point) -> f32 {
    (a[0] - b[0]).hypot(a[1] - b[1])
}

/// Twice the area of the triangle `abc`, positive where it turns clockwise on the screen.
fn turn(a: Point, b: Point, c: Point) -> f32 {
    (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
}

/// The convex hull, clockwise on the screen (Andrew's monotone chain, 1979).
pub fn hull(points: &[Point]) -> Vec<Point> {
    let mut sorted = points.to_vec();
    sorted.sort_by(|a, b| a[0].total_cmp(&b[0]).then(a[1].total_cmp(&b[1])));
    sorted.dedup();
    if sorted.len() < 3 {
        return sorted;
    }
    let half = |points: &mut dyn Iterator<Item = Point>| {
        let mut chain: Vec<Point> = vec![];
        for point in points {
            while chain.len() > 1 && turn(chain[chain.len() - 2], chain[chain.len() - 1], point) <= 0.0 {
                chain.pop();
            }
            chain.push(point);
        }
        chain.pop();
        chain
    };
    let mut chain = half(&mut sorted.iter().copied());
    chain.extend(half(&mut sorted.iter().rev().copied()));
    chain
}

/// The smallest rectangle around points. One of its sides lies on a side of their hull (Freeman and Shapira, 1975).
pub fn smallest_rectangle(points: &[Point]) -> Option<Quad> {
    let hull = hull(points);
    let mut best: Option<(f32, Quad)> = None;
    for (i, &a) in hull.iter().enumerate() {
        let b = hull[(i + 1) % hull.len()];
        let length = distance(a, b);
        if length == 0.0 {
            continue;
        }
        let along = [(b[0] - a[0]) / length, (b[1] - a[1]) / length];
        let across = [-along[1], along[0]];
        let range = |axis: Point| {
            let places = hull.iter().map(|p| p[0] * axis[0] + p[1] * axis[1]);
            places.fold((f32::MAX, f32::MIN), |(low, high), place| (low.min(place), high.max(place)))
        };
        let ((left, right), (top, bottom)) = (range(along), range(across));
        let area = (right - left) * (bottom - top);
        if best.as_ref().is_none_or(|(smallest, _)| area < *smallest) {
            let corner = |u: f32, v: f32| [u * along[0] + v * across[0], u * along[1] + v * across[1]];
            best = Some((area, Quad([corner(left, top), corner(right, top), corner(right, bottom), corner(left, bottom)])));
        }
    }
    best.map(|(_, quad)| quad.upright())
}

impl Quad {
    /// The same corners, from the top left one on: of the four turns the one whose first side points most to the right.
    fn upright(self) -> Self {
        let rightward = |shift: &usize| {
            let (a, b) = (self.0[*shift], self.0[(shift + 1) % 4]);
            (b[0] - a[0]) / distance(a, b).max(f32::MIN_POSITIVE)
        };
        let shift = (0..4).max_by(|a, b| rightward(a).total_cmp(&rightward(b))).expect("0..4 is not empty");
        Self(std::array::from_fn(|i| self.0[(i + shift) % 4]))
    }

    pub fn width(&self) -> f32 {
        distance(self.0[0], self.0[1])
    }

    pub fn height(&self) -> f32 {
        distance(self.0[0], self.0[3])
    }

    /// A rectangle with every side moved outwards.
    pub fn grown(&self, by: f32) -> Self {
        let [a, b, c, d] = self.0;
        let (width, height) = (self.width().max(f32::MIN_POSITIVE), self.height().max(f32::MIN_POSITIVE));
        let along = [(b[0] - a[0]) / width * by, (b[1] - a[1]) / width * by];
        let across = [(d[0] - a[0]) / height * by, (d[1] - a[1]) / height * by];
        let moved = |p: Point, u: f32, v: f32| [p[0] + u * along[0] + v * across[0], p[1] + u * along[1] + v * across[1]];
        Self([moved(a, -1.0, -1.0), moved(b, 1.0, -1.0), moved(c, 1.0, 1.0), moved(d, -1.0, 1.0)])
    }

    pub fn map(&self, f: impl Fn(Point) -> Point) -> Self {
        Self(self.0.map(f))
    }

    /// A point by its place in the quadrilateral: (0, 0) is the first corner, (1, 1) the third.
    pub fn at(&self, u: f32, v: f32) -> Point {
        let [a, b, c, d] = self.0;
        std::array::from_fn(|i| (a[i] * (1.0 - u) + b[i] * u) * (1.0 - v) + (d[i] * (1.0 - u) + c[i] * u) * v)
    }

    /// Whether a point lies in it or on its border.
    pub fn contains(&self, point: Point) -> bool {
        (0..4).all(|i| turn(self.0[i], self.0[(i + 1) % 4], point) >= 0.0)
    }

    /// Area of the intersection over area of the union: 1 for equal ones, 0 for disjoint ones.
    pub fn overlap(&self, other: &Self) -> f32 {
        let mut shared = self.0.to_vec();
        for i in 0..4 {
            shared = clipped(&shared, other.0[i], other.0[(i + 1) % 4]);
        }
        let shared = area(&shared);
        shared / (area(&self.0) + area(&other.0) - shared).max(f32::MIN_POSITIVE)
    }
}

fn area(polygon: &[Point]) -> f32 {
    let twice: f32 = (1..polygon.len().saturating_sub(1)).map(|i| turn(polygon[0], polygon[i], polygon[i + 1])).sum();
    twice.abs() / 2.0
}

/// What of a convex polygon lies on the inner side of a line (Sutherland and Hodgman, 1974).
fn clipped(polygon: &[Point], from: Point, to: Point) -> Vec<Point> {
    let mut kept = vec![];
    for (i, &a) in polygon.iter().enumerate() {
        let b = polygon[(i + 1) % polygon.len()];
        let (inside, next) = (turn(from, to, a), turn(from, to, b));
        if inside >= 0.0 {
            kept.push(a);
        }
        if (inside >= 0.0) != (next >= 0.0) {
            let t = inside / (inside - next);
            kept.push([a[0] + t * (b[0] - a[0]), a[1] + t * (b[1] - a[1])]);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    const SQUARE: Quad = Quad([[0.0, 0.0], [2.0, 0.0], [2.0, 2.0], [0.0, 2.0]]);

    #[test]
    fn finds_a_turned_rectangle() {
        // 10 by 2, turned by atan(3/4), with points inside.
        let (along, across) = ([0.8, 0.6], [-0.6, 0.8]);
        let point = |u: f32, v: f32| [5.0 + u * along[0] + v * across[0], 5.0 + u * along[1] + v * across[1]];
        let points: Vec<Point> = (0..=10).flat_map(|u| (0..=2).map(move |v| point(u as f32, v as f32))).collect();
        let quad = smallest_rectangle(&points).unwrap();
        for (got, want) in quad.0.iter().zip([point(0.0, 0.0), point(10.0, 0.0), point(10.0, 2.0), point(0.0, 2.0)]) {
            assert!(distance(*got, want) < 1e-4, "{quad:?}");
        }
        assert!(quad.contains([5.5, 6.5]) && !quad.contains([5.5, 4.5]));
        let grown = quad.grown(1.0);
        assert!((grown.width() - 12.0).abs() < 1e-4 && (grown.height() - 4.0).abs() < 1e-4);
        assert!(distance(grown.at(0.5, 0.5), quad.at(0.5, 0.5)) < 1e-4);
    }

    #[test]
    fn measures_overlaps() {
        assert_eq!(SQUARE.overlap(&SQUARE), 1.0);
        assert!((SQUARE.overlap(&SQUARE.map(|[x, y]| [x + 1.0, y])) - 1.0 / 3.0).abs() < 1e-6);
        assert_eq!(SQUARE.overlap(&SQUARE.map(|[x, y]| [x + 5.0, y])), 0.0);
    }

    #[test]
    fn few_points_have_no_rectangle() {
        assert_eq!(smallest_rectangle(&[]), None);
        assert_eq!(smallest_rectangle(&[[1.0, 1.0], [1.0, 1.0]]), None);
    }
}
