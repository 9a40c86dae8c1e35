//! What a kernel of the user takes and makes, as text: `(f32[n, m], f32[k], alpha: float) -> (f32[n, m - k + 1])`.
//!
//! Tensors come first, then parameters `NAME: int` or `NAME: float`. Extents are expressions over names and integers with `+ - * floordiv ceildiv mod` and
//! parentheses. Each name is the whole extent of some axis of an input. [`fmt::Display`] gives
//! the same text with single spaces.

use crate::{
    dim::Dim,
    types::{ElementType, TensorType},
};
use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScalarKind {
    /// i64.
    Int,
    /// f64, also where the model holds an f32.
    Float,
}

/// A signature. Dims of its tensors are over `names`: symbol i is the i-th name.
#[derive(Clone, Debug, PartialEq)]
pub struct Signature {
    text: String,
    inputs: Vec<TensorType>,
    pub scalars: Vec<(String, ScalarKind)>,
    outputs: Vec<TensorType>,
    /// Names of extents, in the order in which they appear.
    pub names: Vec<String>,
}

impl Signature {
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parser = Parser { tokens: tokens(text)?, at: 0, names: vec![] };
        parser.signature().map_err(|why| format!("the signature \"{text}\": {why}"))
    }

    /// Number of input tensors.
    pub fn input_count(&self) -> usize {
        self.inputs.len()
    }

    /// The value of each name for inputs of these types, whose extents may differ from [`Signature::inputs`] otherwise.
    pub fn bind(&self, inputs: &[TensorType]) -> Result<Vec<Dim>, String> {
        if inputs.len() != self.inputs.len() {
            return Err(format!("{} inputs are given, the signature {self} has {}", inputs.len(), self.inputs.len()));
        }
        for (i, (given, wanted)) in inputs.iter().zip(&self.inputs).enumerate() {
            if (given.element, given.rank()) != (wanted.element, wanted.rank()) {
                let of = |r#type: &TensorType| format!("{} of rank {}", element_name(r#type.element), r#type.rank());
                return Err(format!("input {i} is {}, the signature {self} says {}", of(given), of(wanted)));
            }
        }
        let axes = |name: u32| {
            let mut axes = inputs.iter().zip(&self.inputs).flat_map(|(given, wanted)| given.dims.iter().zip(&wanted.dims));
            axes.find(|(_, wanted)| wanted.as_symbol() == Some(name)).map(|(given, _)| given.clone())
        };
        Ok((0..self.names.len() as u32).map(|name| axes(name).expect("parsing has checked")).collect())
    }

    /// Types of the inputs for values of the names.
    pub fn inputs(&self, dims: &[Dim]) -> Vec<TensorType> {
        resolve(&self.inputs, dims)
    }

    /// Types of the outputs for values of the names.
    pub fn outputs(&self, dims: &[Dim]) -> Vec<TensorType> {
        resolve(&self.outputs, dims)
    }
}

fn resolve(types: &[TensorType], dims: &[Dim]) -> Vec<TensorType> {
    let resolve = |dim: &Dim| dim.substitute(&mut |name| dims[name as usize].clone());
    types.iter().map(|r#type| TensorType::new(r#type.element, r#type.dims.iter().map(resolve).collect())).collect()
}

/// As ONNX Runtime and numpy shorten them: `u8`, `bool`.
fn element_name(element: ElementType) -> String {
    if element == ElementType::Bool { "bool".into() } else { element.name().replace("ui", "u") }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Tokens with the spaces that people put between them.
fn spaced(tokens: &[Token]) -> String {
    let mut text = String::new();
    for (i, token) in tokens.iter().enumerate() {
        let opens = i > 0 && matches!(tokens[i - 1], Token::Sign('(' | '['));
        if i > 0 && !opens && !matches!(token, Token::Sign(',' | ')' | ']' | ':' | '[')) {
            text.push(' ');
        }
        text += &token.to_string();
    }
    text
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Number(i64),
    Sign(char),
    Arrow,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Word(word) => f.write_str(word),
            Self::Number(number) => number.fmt(f),
            Self::Sign(sign) => sign.fmt(f),
            Self::Arrow => f.write_str("->"),
        }
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let (mut rest, mut tokens) = (text.trim_start(), vec![]);
    while let Some(first) = rest.chars().next() {
        let word = |start: &str| start.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(start.len());
        let length = match first {
            '-' if rest.starts_with("->") => {
                tokens.push(Token::Arrow);
                2
            }
            '0'..='9' => {
                let length = word(rest);
                tokens.push(Token::Number(
                    rest[..length].parse().map_err(|_| format!("the signature \"{text}\": {} is no extent", &rest[..length]))?,
                ));
                length
            }
            'a'..='z' | 'A'..='Z' | '_' => {
                let length = word(rest);
                tokens.push(Token::Word(rest[..length].into()));
                length
            }
            '(' | ')' | '[' | ']' | ',' | ':' | '+' | '-' | '*' => {
                tokens.push(Token::Sign(first));
                1
            }
            other => return Err(format!("the signature \"{text}\": \"{other}\" has no meaning")),
        };
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

/// Extents in parentheses may nest this deep.
const MAX_DEPTH: usize = 32;

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    names: Vec<String>,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn is(&mut self, token: &Token) -> bool {
        let is = self.peek() == Some(token);
        self.at += usize::from(is);
        is
    }

    fn sign(&mut self, sign: char) -> bool {
        self.is(&Token::Sign(sign))
    }

    fn expect(&mut self, token: Token) -> Result<(), String> {
        if self.is(&token) { Ok(()) } else { Err(format!("expected {token}, found {}", self.found())) }
    }

    fn found(&self) -> String {
        self.peek().map_or("its end".into(), |token| format!("\"{token}\""))
    }

    fn word(&mut self, what: &str) -> Result<String, String> {
        match self.peek().cloned() {
            Some(Token::Word(word)) => {
                self.at += 1;
                Ok(word)
            }
            _ => Err(format!("expected {what}, found {}", self.found())),
        }
    }

    fn signature(&mut self) -> Result<Signature, String> {
        let (mut inputs, mut scalars, mut outputs) = (vec![], vec![], vec![]);
        self.list(|parser| {
            let word = parser.word("a tensor or a parameter")?;
            if parser.sign(':') {
                let kind = match parser.word("int or float")?.as_str() {
                    "int" => ScalarKind::Int,
                    "float" => ScalarKind::Float,
                    other => return Err(format!("the parameter {word} is {other}; parameters are int or float")),
                };
                scalars.push((word, kind));
            } else if scalars.is_empty() {
                inputs.push(parser.tensor(&word)?);
            } else {
                return Err("a tensor follows a parameter; tensors come first".into());
            }
            Ok(())
        })?;
        let known = self.names.len();
        self.expect(Token::Arrow)?;
        self.list(|parser| {
            let word = parser.word("a tensor")?;
            outputs.push(parser.tensor(&word)?);
            Ok(())
        })?;
        if self.peek().is_some() {
            return Err(format!("{} stands behind its end", self.found()));
        }
        let bare = |name: usize| inputs.iter().any(|input| input.dims.iter().any(|dim| dim.as_symbol() == Some(name as u32)));
        if let Some(name) = (0..self.names.len()).find(|name| *name >= known || !bare(*name)) {
            return Err(format!("{} is not the extent of any axis of an input", self.names[name]));
        }
        if outputs.is_empty() {
            return Err("it has no outputs".into());
        }
        Ok(Signature { inputs, scalars, outputs, names: std::mem::take(&mut self.names), text: spaced(&self.tokens) })
    }

    /// `(item, ...)`; nothing, one or more.
    fn list(&mut self, mut item: impl FnMut(&mut Self) -> Result<(), String>) -> Result<(), String> {
        self.expect(Token::Sign('('))?;
        while !self.sign(')') {
            item(self)?;
            if !self.sign(',') {
                return self.expect(Token::Sign(')'));
            }
        }
        Ok(())
    }

    /// What follows the name of an element type.
    fn tensor(&mut self, element: &str) -> Result<TensorType, String> {
        let element = ElementType::ALL.into_iter().find(|known| element_name(*known) == element).ok_or_else(|| {
            let names: Vec<String> = ElementType::ALL.into_iter().map(element_name).collect();
            format!("{element} is no element type; use {}", names.join(", "))
        })?;
        self.expect(Token::Sign('['))?;
        let mut dims = vec![];
        while !self.sign(']') {
            let dim = self.sum(0)?;
            if dim.as_static().is_some_and(|extent| extent < 0) {
                return Err(format!("the extent {dim} is negative"));
            }
            dims.push(dim);
            if !self.sign(',') {
                self.expect(Token::Sign(']'))?;
                break;
            }
        }
        Ok(TensorType::new(element, dims))
    }

    fn sum(&mut self, depth: usize) -> Result<Dim, String> {
        let mut sum = self.product(depth)?;
        loop {
            if self.sign('+') {
                sum = &sum + &self.product(depth)?;
            } else if self.sign('-') {
                sum = &sum - &self.product(depth)?;
            } else {
                return Ok(sum);
            }
        }
    }

    fn product(&mut self, depth: usize) -> Result<Dim, String> {
        let mut product = self.factor(depth)?;
        loop {
            if self.sign('*') {
                product = &product * &self.factor(depth)?;
                continue;
            }
            let divide: fn(&Dim, &Dim) -> Dim = match self.peek() {
                Some(Token::Word(word)) if word == "floordiv" => Dim::floor_div,
                Some(Token::Word(word)) if word == "ceildiv" => Dim::ceil_div,
                Some(Token::Word(word)) if word == "mod" => Dim::modulo,
                _ => return Ok(product),
            };
            self.at += 1;
            let divisor = self.factor(depth)?;
            if divisor.as_static().is_none_or(|divisor| divisor <= 0) {
                return Err(format!("it divides by {divisor}; divisors are positive numbers"));
            }
            product = divide(&product, &divisor);
        }
    }

    fn factor(&mut self, depth: usize) -> Result<Dim, String> {
        if depth > MAX_DEPTH {
            return Err("parentheses are nested too deep".into());
        }
        if self.sign('(') {
            let sum = self.sum(depth + 1)?;
            self.expect(Token::Sign(')'))?;
            return Ok(sum);
        }
        if let Some(Token::Number(number)) = self.peek() {
            let number = Dim::from(*number);
            self.at += 1;
            return Ok(number);
        }
        let name = self.word("an extent")?;
        let position = self.names.iter().position(|known| *known == name).unwrap_or_else(|| {
            self.names.push(name);
            self.names.len() - 1
        });
        Ok(Dim::symbol(position as u32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_its_text_with_single_spaces() {
        for (text, form) in [
            ("(f32[n,m],f32[k],alpha:float)->(f32[n,m-k+1])", "(f32[n, m], f32[k], alpha: float) -> (f32[n, m - k + 1])"),
            ("(u8[b,a], bool[ ])->(i64[2*(a+1), b floordiv 2])", "(u8[b, a], bool[]) -> (i64[2 * (a + 1), b floordiv 2])"),
            (" ( ) -> (f32[3])", "() -> (f32[3])"),
        ] {
            let signature = Signature::parse(text).unwrap();
            assert_eq!(signature.to_string(), form);
            assert_eq!(Signature::parse(form).unwrap(), signature);
        }
    }

    #[test]
    fn says_what_is_wrong() {
        for (text, why) in [
            ("", "expected (, found its end"),
            ("(f32[n]) -> ()", "it has no outputs"),
            ("(f33[n]) -> (f32[n])", "f33 is no element type; use f64"),
            ("(f32[n]) -> (f32[m])", "m is not the extent of any axis of an input"),
            ("(f32[n + 1]) -> (f32[2])", "n is not the extent of any axis of an input"),
            ("(f32[n] -> (f32[n])", "expected ), found \"->\""),
            ("(f32[n], a: text) -> (f32[n])", "the parameter a is text"),
            ("(a: int, f32[n]) -> (f32[n])", "tensors come first"),
            ("(f32[n]) -> (f32[n floordiv 0])", "it divides by 0"),
            ("(f32[n]) -> (f32[n floordiv n])", "it divides by"),
            ("(f32[99999999999999999999]) -> (f32[1])", "is no extent"),
            ("(f32[1 - 2]) -> (f32[1])", "the extent -1 is negative"),
            ("(f32[n]) -> (f32[n]) x", "\"x\" stands behind its end"),
            ("(f32[n]) -> (f32[n?])", "\"?\" has no meaning"),
        ] {
            let error = Signature::parse(text).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
        let deep = format!("(f32[n]) -> (f32[{}n{}])", "(".repeat(40), ")".repeat(40));
        assert!(Signature::parse(&deep).unwrap_err().contains("too deep"));
    }

    #[test]
    fn binds_names_to_extents() {
        let signature = Signature::parse("(f32[n + 1, m], f32[n]) -> (f32[n * m])").unwrap();
        let s = Dim::symbol(3);
        let given =
            [TensorType::new(ElementType::F32, vec![&s + &Dim::from(1), Dim::from(4)]), TensorType::new(ElementType::F32, vec![s.clone()])];
        let dims = signature.bind(&given).unwrap();
        assert_eq!(dims, [s.clone(), Dim::from(4)]);
        assert_eq!(signature.inputs(&dims), given);
        assert_eq!(signature.outputs(&dims), [TensorType::new(ElementType::F32, vec![&s * &Dim::from(4)])]);
        assert!(signature.bind(&given[..1]).unwrap_err().starts_with("1 inputs are given"));
        assert!(signature.bind(&[given[1].clone(), given[1].clone()]).unwrap_err().starts_with("input 0 is f32 of rank 1, the signature"));
    }
}
