//! Control parameters with placeholders: read once, filled in for each event without parsing anything again.

use std::fmt;

use rand::Rng as _;
use rand::rngs::SmallRng;
use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize as _, Deserializer};

/// Numbers in JSON are exact below this.
const EXACT: u64 = 1 << 53;
/// The first of the private characters that stand for placeholders while a template is read: inside of a string.
const MARK_TEXT: u32 = 0xf_0000;
/// The same, for a placeholder that is a number of its own.
const MARK_NUMBER: u32 = 0x10_0000;

/// What is filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Key,
    Other,
    Seq,
    Connection,
    Random { low: u64, high: u64 },
}

/// What an event fills in.
pub struct Values<'a> {
    /// Its key.
    pub key: u64,
    /// Another key.
    pub other: u64,
    /// Its number in the run.
    pub seq: u64,
    /// The connection that sends it.
    pub connection: u64,
    /// Where random numbers come from.
    pub random: &'a mut SmallRng,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Bytes(Vec<u8>),
    /// A number in digits.
    Digits(Place),
    /// A number, seven bits a byte.
    Varint(Place),
    /// The length of what the pieces make, then that.
    Sized(Vec<Piece>),
}

/// A text with placeholders, in the form in which it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    pieces: Vec<Piece>,
}

impl Place {
    fn named(word: &str) -> Option<Self> {
        Some(match word {
            "key" => Place::Key,
            "other" => Place::Other,
            "seq" => Place::Seq,
            "connection" => Place::Connection,
            "random" => Place::Random { low: 0, high: EXACT - 1 },
            _ => {
                let (low, high) = word.strip_prefix("random:")?.split_once('-')?;
                let (low, high) = (low.parse().ok()?, high.parse().ok()?);
                (low <= high).then_some(Place::Random { low, high })?
            }
        })
    }

    fn value(self, values: &mut Values<'_>) -> u64 {
        match self {
            Place::Key => values.key,
            Place::Other => values.other,
            Place::Seq => values.seq,
            Place::Connection => values.connection,
            Place::Random { low, high } => values.random.random_range(low..=high),
        }
    }
}

/// A part of a template as it was typed.
enum Part<'a> {
    Text(&'a str),
    Place(Place),
}

/// Splits at `{word}`; braces around anything but small letters and what belongs to a range are left as they are.
fn parts(text: &str) -> Result<Vec<Part<'_>>, String> {
    let mut parts = Vec::new();
    let mut rest = text;
    let mut from = 0;
    while let Some(at) = rest[from..].find('{').map(|at| from + at) {
        let word = rest[at + 1..].split('}').next().unwrap_or_default();
        let like_one = word.starts_with(|first: char| first.is_ascii_lowercase())
            && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b":-_".contains(&byte))
            && rest.as_bytes().get(at + 1 + word.len()) == Some(&b'}');
        if !like_one {
            from = at + 1;
            continue;
        }
        let place = Place::named(word).ok_or_else(|| format!("there is no placeholder {{{word}}}"))?;
        parts.push(Part::Text(&rest[..at]));
        parts.push(Part::Place(place));
        rest = &rest[at + word.len() + 2..];
        from = 0;
    }
    parts.push(Part::Text(rest));
    Ok(parts)
}

impl Template {
    /// A text that need not be JSON.
    ///
    /// # Errors
    /// When a placeholder is none.
    pub fn text(text: &str) -> Result<Self, String> {
        let pieces = parts(text)?.into_iter().map(|part| match part {
            Part::Text(text) => Piece::Bytes(text.into()),
            Part::Place(place) => Piece::Digits(place),
        });
        Ok(Template { pieces: pieces.collect() })
    }

    /// JSON, sent as it is.
    ///
    /// # Errors
    /// When a placeholder is none, or what is left is no JSON.
    pub fn json(text: &str) -> Result<Self, String> {
        let template = Template::text(text)?;
        // A placeholder beside digits of the template's own may make a number of some values and none of others.
        for value in [1, 0, u64::MAX] {
            let mut sample = Vec::new();
            for part in parts(text)? {
                match part {
                    Part::Text(text) => sample.extend_from_slice(text.as_bytes()),
                    Part::Place(_) => digits(value, &mut sample),
                }
            }
            serde_json::from_slice::<serde_json::Value>(&sample).map_err(|error| error.to_string())?;
        }
        Ok(template)
    }

    /// JSON, sent as `postcard` of the types that it shows.
    ///
    /// # Errors
    /// When a placeholder is none, what is left is no JSON, or it has what shows no type.
    pub fn postcard(text: &str) -> Result<Self, String> {
        let (mut marked, mut places) = (String::new(), Vec::new());
        let (mut inside, mut escaped) = (false, false);
        for part in parts(text)? {
            match part {
                Part::Text(text) => {
                    for char in text.chars() {
                        match char {
                            _ if escaped => escaped = false,
                            '\\' => escaped = inside,
                            '"' => inside = !inside,
                            _ => {}
                        }
                    }
                    marked += text;
                }
                Part::Place(place) => {
                    let mark = |base: u32| char::from_u32(base + places.len() as u32).unwrap_or_default();
                    match inside {
                        true => marked.push(mark(MARK_TEXT)),
                        false => marked += &format!("\"{}\"", mark(MARK_NUMBER)),
                    }
                    places.push(place);
                }
            }
        }
        let mut pieces = Vec::new();
        let mut json = serde_json::Deserializer::from_str(&marked);
        Typed { places: &places, pieces: &mut pieces }
            .deserialize(&mut json)
            .and_then(|()| json.end())
            .map_err(|error| error.to_string())?;
        Ok(Template { pieces })
    }

    /// Whether another key than the first one is filled in.
    pub fn has_other(&self) -> bool {
        fn has(pieces: &[Piece]) -> bool {
            pieces.iter().any(|piece| match piece {
                Piece::Digits(place) | Piece::Varint(place) => *place == Place::Other,
                Piece::Sized(pieces) => has(pieces),
                Piece::Bytes(_) => false,
            })
        }
        has(&self.pieces)
    }

    /// Appends it, filled in.
    pub fn fill(&self, values: &mut Values<'_>, out: &mut Vec<u8>) {
        fill(&self.pieces, values, out);
    }
}

fn fill(pieces: &[Piece], values: &mut Values<'_>, out: &mut Vec<u8>) {
    for piece in pieces {
        match piece {
            Piece::Bytes(bytes) => out.extend_from_slice(bytes),
            Piece::Digits(place) => digits(place.value(values), out),
            Piece::Varint(place) => varint(place.value(values), out),
            Piece::Sized(pieces) => {
                // Nearly all are shorter than 128 bytes, whose length is one byte.
                let start = out.len();
                out.push(0);
                fill(pieces, values, out);
                let length = out.len() - start - 1;
                if length < 0x80 {
                    out[start] = length as u8;
                } else {
                    let mut sized = Vec::new();
                    varint(length as u64, &mut sized);
                    out.splice(start..=start, sized);
                }
            }
        }
    }
}

/// Appends a number in digits.
pub fn digits(number: u64, out: &mut Vec<u8>) {
    let (mut digits, mut at, mut rest) = ([0; 20], 20, number);
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

fn varint(number: u64, out: &mut Vec<u8>) {
    let mut rest = number;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Reads one JSON value, in the order in which it is written, into pieces of `postcard`.
struct Typed<'a> {
    places: &'a [Place],
    pieces: &'a mut Vec<Piece>,
}

impl Typed<'_> {
    fn bytes(&mut self, bytes: &[u8]) {
        match self.pieces.last_mut() {
            Some(Piece::Bytes(last)) => last.extend_from_slice(bytes),
            _ => self.pieces.push(Piece::Bytes(bytes.into())),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Typed<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Typed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text, a whole number that is not negative, true, false, a list or an object")
    }

    fn visit_bool<E>(mut self, value: bool) -> Result<(), E> {
        self.bytes(&[u8::from(value)]);
        Ok(())
    }

    fn visit_u64<E>(mut self, value: u64) -> Result<(), E> {
        let mut bytes = Vec::new();
        varint(value, &mut bytes);
        self.bytes(&bytes);
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        let place =
            |char: char, base: u32| self.places.get((char as u32).checked_sub(base)? as usize).copied();
        let mut chars = text.chars();
        if let (Some(only), None) = (chars.next(), chars.next())
            && let Some(place) = place(only, MARK_NUMBER)
        {
            self.pieces.push(Piece::Varint(place));
            return Ok(());
        }
        let mut sized: Vec<Piece> = Vec::new();
        for char in text.chars() {
            match (place(char, MARK_TEXT), sized.last_mut()) {
                (Some(place), _) => sized.push(Piece::Digits(place)),
                (None, Some(Piece::Bytes(bytes))) => {
                    bytes.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
                }
                (None, _) => sized.push(Piece::Bytes(char.to_string().into())),
            }
        }
        self.pieces.push(Piece::Sized(sized));
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<(), A::Error> {
        let mut elements = Vec::new();
        let mut count = 0;
        while seq.next_element_seed(Typed { places: self.places, pieces: &mut elements })?.is_some() {
            count += 1;
        }
        let mut length = Vec::new();
        varint(count, &mut length);
        self.bytes(&length);
        self.pieces.append(&mut elements);
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while map.next_key_seed(Name)?.is_some() {
            map.next_value_seed(Typed { places: self.places, pieces: self.pieces })?;
        }
        Ok(())
    }
}

/// The name of a field, which `postcard` does not send.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        String::deserialize(deserializer).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use serde::Serialize;

    use super::*;

    fn filled(template: &Template) -> Vec<u8> {
        let mut random = SmallRng::seed_from_u64(7);
        let mut out = Vec::new();
        template
            .fill(&mut Values { key: 41, other: 300, seq: 5, connection: 2, random: &mut random }, &mut out);
        out
    }

    const TRANSFER: &str =
        r#"{"from":"acc{key}","to":"a\"{other}","cents":{seq},"tags":["x",{connection}],"on":true}"#;

    #[test]
    fn json_is_filled_in_inside_and_outside_of_strings() {
        let text = String::from_utf8(filled(&Template::json(TRANSFER).unwrap())).unwrap();
        assert_eq!(text, r#"{"from":"acc41","to":"a\"300","cents":5,"tags":["x",2],"on":true}"#);
    }

    #[test]
    fn postcard_is_that_of_the_types_that_the_template_shows() {
        #[derive(Serialize)]
        struct Transfer {
            from: String,
            to: String,
            cents: u64,
            tags: (u8, String, u32),
            on: bool,
        }
        let long = "x".repeat(200);
        let transfer = Transfer {
            from: "acc41".into(),
            to: "a\"300".into(),
            cents: 5,
            // A list is its length and its elements.
            tags: (2, long.clone(), 2),
            on: true,
        };
        let template = Template::postcard(&TRANSFER.replace("\"x\"", &format!("\"{long}\""))).unwrap();
        assert_eq!(filled(&template), postcard::to_stdvec(&transfer).unwrap());
    }

    #[test]
    fn what_is_no_template_is_refused_by_name() {
        assert!(Template::json(r#"{"a":{kee}}"#).unwrap_err().contains("{kee}"));
        assert!(Template::json(r#"{"a":{random:9-1}}"#).unwrap_err().contains("{random:9-1}"));
        assert!(Template::json(r#"{"a":"#).is_err());
        assert!(Template::json(r#"{"a":{seq}0}"#).is_err(), "no number begins with a zero");
        assert!(Template::json(r#"{"a":1e{seq}}"#).is_err(), "no number is so large");
        assert!(Template::postcard(r#"{"a":-1}"#).is_err());
        assert!(Template::postcard(r#"{"a":null}"#).is_err());
        assert!(Template::postcard(r#"{"a":1} 2"#).is_err());
    }

    #[test]
    fn random_numbers_keep_their_bounds() {
        let template = Template::json("{random:3-5}").unwrap();
        let mut random = SmallRng::seed_from_u64(1);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..100 {
            let mut out = Vec::new();
            template
                .fill(&mut Values { key: 0, other: 0, seq: 0, connection: 0, random: &mut random }, &mut out);
            seen.insert(String::from_utf8(out).unwrap());
        }
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["3", "4", "5"]);
    }
}
