//! From a tree of located values into raw serde types. Errors say in one line what stands there and what may.

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, IntoDeserializer, MapAccess, SeqAccess, VariantAccess,
    Visitor,
};
use serde::forward_to_deserialize_any;

use super::error::{Place, Problem, listed, quoted};
use super::tree::{Entry, Node, Value};

/// Reads a type from a tree.
pub(super) fn decode<'de, T: serde::Deserialize<'de>>(node: &'de Node) -> Result<T, Problem> {
    T::deserialize(At::node(node)).map_err(|problem| problem.at(&node.place))
}

/// A value of the tree, as a deserializer.
#[derive(Clone, Copy)]
struct At<'de> {
    value: &'de Value,
    place: &'de Place,
}

impl<'de> At<'de> {
    const fn node(node: &'de Node) -> Self {
        Self { value: &node.value, place: &node.place }
    }

    /// What stands here where something else should.
    fn not(self, allowed: &str) -> Problem {
        let found = match self.value {
            Value::Null => "null".to_owned(),
            Value::Scalar { text, plain: true } => quoted(text),
            Value::Scalar { text, plain: false } => format!("the quoted text {}", quoted(text)),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a map".to_owned(),
        };
        Problem::custom(format_args!("{found} is not {allowed}")).at(self.place)
    }

    /// The text of an unquoted scalar, which alone can be a number or a boolean.
    const fn plain(self) -> Option<&'de str> {
        match self.value {
            Value::Scalar { text, plain: true } => Some(text.as_str()),
            _ => None,
        }
    }
}

impl<'de> Deserializer<'de> for At<'de> {
    type Error = Problem;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match self.value {
            Value::Null => visitor.visit_unit(),
            Value::Scalar { text, .. } => visitor.visit_str(text),
            Value::List(items) => visitor.visit_seq(Items { items: items.iter(), index: 0 }),
            Value::Map(entries) => visitor.visit_map(Entries { entries: entries.iter(), value: None }),
        }
        .map_err(|problem| problem.at(self.place))
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match self.plain() {
            Some("true" | "True" | "TRUE") => visitor.visit_bool(true),
            Some("false" | "False" | "FALSE") => visitor.visit_bool(false),
            _ => Err(self.not("true or false")),
        }
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        let number =
            self.plain().and_then(|text| text.parse().ok()).ok_or_else(|| self.not("a whole number"))?;
        visitor.visit_i64(number)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        let number = self.plain().and_then(float).ok_or_else(|| self.not("a number"))?;
        visitor.visit_f64(number)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match self.value {
            Value::Scalar { text, .. } => {
                visitor.visit_str(text).map_err(|problem: Problem| problem.at(self.place))
            }
            _ => Err(self.not("text")),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match self.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match self.value {
            Value::List(_) => self.deserialize_any(visitor),
            _ => Err(self.not("a list")),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match self.value {
            Value::Map(_) => self.deserialize_any(visitor),
            // A key without a value holds an empty map, as for the Kubernetes API.
            Value::Null => visitor.visit_map(Entries { entries: [].iter(), value: None }),
            _ => Err(self.not("a map")),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Problem> {
        match self.value {
            Value::Scalar { .. } | Value::List(_) => {
                Err(self.not(&format!("a map of its keys; allowed: {}", listed(fields))))
            }
            Value::Null | Value::Map(_) => self.deserialize_map(visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Problem> {
        let allowed = listed(variants);
        let variant = match self.value {
            Value::Scalar { text, .. } => Variant { name: text, place: self.place, content: None },
            Value::Map(entries) => match entries.as_slice() {
                [entry] => {
                    Variant { name: &entry.key, place: &entry.place, content: Some(At::node(&entry.node)) }
                }
                [first, second, ..] => {
                    let text = format!(
                        "{} and {} exclude each other; allowed: one of {allowed}",
                        quoted(&first.key),
                        quoted(&second.key)
                    );
                    return Err(Problem::custom(text).at(&second.place));
                }
                [] => {
                    return Err(
                        Problem::custom(format!("is empty; allowed: one of {allowed}")).at(self.place)
                    );
                }
            },
            Value::Null | Value::List(_) => return Err(self.not(&format!("one of {allowed}"))),
        };
        visitor.visit_enum(variant)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i128 u8 u16 u32 u64 u128 f32 char bytes byte_buf unit unit_struct newtype_struct tuple
        tuple_struct identifier
    }
}

/// Numbers as in YAML's core schema; Rust alone would also read `infinity`.
fn float(text: &str) -> Option<f64> {
    match text {
        ".nan" | ".NaN" | ".NAN" => Some(f64::NAN),
        ".inf" | "+.inf" | ".Inf" | "+.Inf" | ".INF" | "+.INF" => Some(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => Some(f64::NEG_INFINITY),
        _ if text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E')) => {
            text.parse().ok()
        }
        _ => None,
    }
}

struct Items<'de> {
    items: std::slice::Iter<'de, Node>,
    index: usize,
}

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = Problem;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Problem> {
        let Some(node) = self.items.next() else { return Ok(None) };
        let index = self.index.to_string();
        self.index += 1;
        seed.deserialize(At::node(node)).map(Some).map_err(|problem| problem.at(&node.place).under(&index))
    }
}

struct Entries<'de> {
    entries: std::slice::Iter<'de, Entry>,
    value: Option<&'de Entry>,
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = Problem;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Problem> {
        self.value = self.entries.next();
        let Some(entry) = self.value else { return Ok(None) };
        let key: StrDeserializer<'_, Problem> = entry.key.as_str().into_deserializer();
        seed.deserialize(key).map(Some).map_err(|problem| problem.at(&entry.place))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Problem> {
        let entry = self.value.ok_or_else(|| Problem::custom("a value was read before its key"))?;
        seed.deserialize(At::node(&entry.node))
            .map_err(|problem| problem.at(&entry.node.place).under(&entry.key))
    }
}

/// `none`, or `deletePods: {…}`.
struct Variant<'de> {
    name: &'de str,
    place: &'de Place,
    content: Option<At<'de>>,
}

impl<'de> EnumAccess<'de> for Variant<'de> {
    type Error = Problem;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Problem> {
        let name: StrDeserializer<'_, Problem> = self.name.into_deserializer();
        let value = seed.deserialize(name).map_err(|problem| problem.at(self.place))?;
        Ok((value, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'de> {
    type Error = Problem;

    fn unit_variant(self) -> Result<(), Problem> {
        match self.content {
            None => Ok(()),
            Some(content) => Err(content.not("allowed here: write the name alone").under(self.name)),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Problem> {
        let content = self.content.unwrap_or(At { value: &Value::Null, place: self.place });
        seed.deserialize(content).map_err(|problem| problem.at(content.place).under(self.name))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, _visitor: V) -> Result<V::Value, Problem> {
        Err(Problem::custom("no setting has this form").at(self.place))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Problem> {
        let content = self.content.unwrap_or(At { value: &Value::Null, place: self.place });
        content.deserialize_struct("", fields, visitor).map_err(|problem| problem.under(self.name))
    }
}
