//! The JSON schema of control parameters, found by letting a type read itself from a source that only takes notes.
//!
//! `serde`'s derive asks a deserializer for what it wants, field by field; the `Tracer` notes the wish and gives the
//! least value of that kind. Types with checks of their own may refuse that value: then the notes so far are the
//! schema. Of an enum all names are known, and of the data only that of the first variant.
//!
//! Deliberately absent: a derive of its own, which every author would have to write beside serde's.

use std::cell::RefCell;

use serde::de::value::{MapDeserializer, StrDeserializer};
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, SeqAccess, VariantAccess, Visitor,
    value::Error,
};
use serde::forward_to_deserialize_any;
use serde_json::{Value, json};

use crate::procedure::Parameters;

/// How deep types are followed: a type that holds itself would never end.
const DEPTH_MAX: usize = 16;

/// The schema of `P`, as JSON text.
#[must_use]
pub fn of<P: Parameters>() -> String {
    let note = Note::default();
    // Whether the least value is one of the type's does not matter.
    let _ = P::deserialize(Tracer { note: &note, depth: 0 });
    note.take().to_string()
}

/// What was learned about one value.
#[derive(Default)]
struct Note(RefCell<Option<Value>>);

impl Note {
    fn set(&self, schema: Value) {
        *self.0.borrow_mut() = Some(schema);
    }

    fn take(&self) -> Value {
        self.0.take().unwrap_or_else(|| json!({}))
    }
}

/// A source of one value that notes what is wanted.
#[derive(Clone, Copy)]
struct Tracer<'a> {
    note: &'a Note,
    depth: usize,
}

impl<'a> Tracer<'a> {
    fn below(self, note: &'a Note) -> Result<Tracer<'a>, Error> {
        if self.depth >= DEPTH_MAX {
            return Err(serde::de::Error::custom("too deep"));
        }
        Ok(Tracer { note, depth: self.depth + 1 })
    }
}

macro_rules! integers {
    ($($method:ident $visit:ident $int:ty),*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            self.note.set(json!({ "type": "integer", "minimum": <$int>::MIN, "maximum": <$int>::MAX }));
            visitor.$visit(0)
        }
    )*};
}

impl<'de> Deserializer<'de> for Tracer<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.note.set(json!({}));
        visitor.visit_unit()
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.note.set(json!({ "type": "boolean" }));
        visitor.visit_bool(false)
    }

    integers!(
        deserialize_i8 visit_i8 i8, deserialize_i16 visit_i16 i16, deserialize_i32 visit_i32 i32,
        deserialize_i64 visit_i64 i64, deserialize_u8 visit_u8 u8, deserialize_u16 visit_u16 u16,
        deserialize_u32 visit_u32 u32, deserialize_u64 visit_u64 u64
    );

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.note.set(json!({ "type": "number" }));
        visitor.visit_f64(0.0)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.note.set(json!({ "type": "string", "minLength": 1, "maxLength": 1 }));
        visitor.visit_char('a')
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.note.set(json!({ "type": "string" }));
        visitor.visit_str("a")
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.note
            .set(json!({ "type": "array", "items": { "type": "integer", "minimum": 0, "maximum": 255 } }));
        visitor.visit_bytes(&[])
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let inner = Note::default();
        let result = visitor.visit_some(self.below(&inner)?);
        self.note.set(json!({ "anyOf": [inner.take(), { "type": "null" }] }));
        result
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.note.set(json!({ "type": "null" }));
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let items = Note::default();
        let result = visitor.visit_seq(Items { tracer: self.below(&items)?, left: 1, each: None });
        self.note.set(json!({ "type": "array", "items": items.take() }));
        result
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Error> {
        let (last, each) = (Note::default(), RefCell::default());
        let result = visitor.visit_seq(Items { tracer: self.below(&last)?, left: len, each: Some(&each) });
        let parts = each.into_inner();
        self.note.set(json!({ "type": "array", "prefixItems": parts, "minItems": len, "maxItems": len }));
        result
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_tuple(len, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.note.set(json!({ "type": "object" }));
        visitor.visit_map(MapDeserializer::new(std::iter::empty::<(&str, &str)>()))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let (last, each) = (Note::default(), RefCell::default());
        // As a sequence: the derive reads its fields in the order in which it names them.
        let result =
            visitor.visit_seq(Items { tracer: self.below(&last)?, left: fields.len(), each: Some(&each) });
        let types = each.into_inner().into_iter().chain(std::iter::repeat_with(|| json!({})));
        let is_optional = |schema: &Value| schema.get("anyOf").is_some();
        let properties: Vec<(&str, Value)> = fields.iter().copied().zip(types).collect();
        let required: Vec<&str> =
            properties.iter().filter(|(_, schema)| !is_optional(schema)).map(|(name, _)| *name).collect();
        let required = json!(required);
        let properties: serde_json::Map<String, Value> =
            properties.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect();
        self.note.set(json!({ "type": "object", "properties": properties, "required": required }));
        result
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.note.set(json!({ "enum": variants }));
        let first = variants.first().ok_or_else(|| serde::de::Error::custom("an enum without variants"))?;
        visitor.visit_enum(FirstVariant { tracer: self, name: first })
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! { i128 u128 }
}

/// The elements of a sequence, a tuple or a struct.
struct Items<'a> {
    tracer: Tracer<'a>,
    left: usize,
    /// The schema of each element, where they differ.
    each: Option<&'a RefCell<Vec<Value>>>,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.left = left;
        let element = seed.deserialize(self.tracer);
        if let Some(each) = self.each {
            each.borrow_mut().push(self.tracer.note.take());
        }
        element.map(Some)
    }
}

struct FirstVariant<'a> {
    tracer: Tracer<'a>,
    name: &'static str,
}

impl<'de, 'a> EnumAccess<'de> for FirstVariant<'a> {
    type Error = Error;
    type Variant = VariantData<'a>;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, VariantData<'a>), Error> {
        let name: StrDeserializer<'_, Error> = self.name.into_deserializer();
        Ok((seed.deserialize(name)?, VariantData { tracer: self.tracer }))
    }
}

/// The data of the first variant; its schema is not told, as the others' is not known.
struct VariantData<'a> {
    tracer: Tracer<'a>,
}

impl<'de> VariantAccess<'de> for VariantData<'_> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Error> {
        seed.deserialize(self.tracer.below(&Note::default())?)
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Error> {
        self.tracer.below(&Note::default())?.deserialize_tuple(len, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.tracer.below(&Note::default())?.deserialize_struct("", fields, visitor)
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only its shape matters")]
    struct Order {
        item: String,
        count: u8,
        total: u64,
        note: Option<String>,
        way: Way,
        parts: Vec<(bool, i32)>,
    }

    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only its shape matters")]
    enum Way {
        Air { fast: bool },
        Sea,
    }

    #[test]
    fn a_struct_tells_its_fields_their_types_and_which_are_needed() {
        let schema: Value = serde_json::from_str(&of::<Order>()).unwrap();
        assert_eq!(schema["required"], json!(["item", "count", "total", "way", "parts"]));
        let fields = &schema["properties"];
        assert_eq!(fields["item"], json!({ "type": "string" }));
        assert_eq!(fields["count"], json!({ "type": "integer", "minimum": 0, "maximum": 255 }));
        assert_eq!(fields["total"], json!({ "type": "integer", "minimum": 0, "maximum": u64::MAX }));
        assert_eq!(fields["note"]["anyOf"][0], json!({ "type": "string" }));
        assert_eq!(fields["way"], json!({ "enum": ["Air", "Sea"] }));
        assert_eq!(fields["parts"]["items"]["prefixItems"][1]["type"], "integer");
    }

    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only its shape matters")]
    struct Endless {
        inner: Vec<Endless>,
    }

    #[test]
    fn a_type_that_holds_itself_comes_to_an_end() {
        assert!(of::<Endless>().contains("inner"));
    }
}
