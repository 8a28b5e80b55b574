//! Payloads that are messages, nearly messages, and nothing of the kind.
//!
//! Plain random bytes hardly ever get past the first key. So payloads are also put together field
//! by field: mostly fields that the message has, some that it does not know, in any order and
//! number, with varints longer than need be, groups, and now and then a mistake.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::messages::{content, long};

/// What a message expects in a field.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Header,
    Integer,
    Bytes,
    Text,
}

/// A payload for a message whose fields are `schema`, numbered from 1.
pub(crate) fn payload(schema: &'static [Kind]) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        1 => vec(any::<u8>(), 0..80),
        4 => fields(known_field(schema)),
        2 => fields(known_field(schema)).prop_flat_map(damaged),
    ]
}

fn fields(known: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let field = prop_oneof![
        20 => known,
        5 => unknown_field(),
        1 => mistake(),
    ];
    vec(field, 0..7).prop_map(|fields| fields.concat())
}

fn known_field(schema: &'static [Kind]) -> impl Strategy<Value = Vec<u8>> {
    (1..=schema.len()).prop_flat_map(move |number| {
        let key = key(number as u64, wire_type_of(schema[number - 1]));
        let value = value(schema[number - 1]);
        (key, value).prop_map(|(key, value)| [key, value].concat())
    })
}

fn wire_type_of(kind: Kind) -> u64 {
    match kind {
        Kind::Integer => 0,
        Kind::Header | Kind::Bytes | Kind::Text => 2,
    }
}

fn value(kind: Kind) -> BoxedStrategy<Vec<u8>> {
    match kind {
        Kind::Integer => varint(long()).boxed(),
        Kind::Bytes => delimited(content().prop_map(Vec::from)).boxed(),
        Kind::Text => delimited(any::<String>().prop_map(String::into_bytes)).boxed(),
        Kind::Header => delimited(fields(known_field(&[Kind::Integer, Kind::Integer]))).boxed(),
    }
}

/// A field with a number that no message uses.
fn unknown_field() -> impl Strategy<Value = Vec<u8>> {
    let number = prop_oneof![9..16_u64, 16..1_u64 << 29];
    let leaf = (number.clone(), any_value())
        .prop_flat_map(|(number, (wire_type, value))| {
            key(number, wire_type).prop_map(move |key| [key, value.clone()].concat())
        })
        .boxed();
    leaf.prop_recursive(3, 12, 4, move |inner| {
        (number.clone(), vec(inner, 0..4)).prop_flat_map(|(number, inner)| {
            (key(number, 3), key(number, 4)).prop_map(move |(start, end)| [start, inner.concat(), end].concat())
        })
    })
}

/// A wire type and a value of that type.
fn any_value() -> impl Strategy<Value = (u64, Vec<u8>)> {
    prop_oneof![
        (Just(0), varint(long())),
        (Just(1), vec(any::<u8>(), 8)),
        (Just(2), delimited(vec(any::<u8>(), 0..20))),
        (Just(5), vec(any::<u8>(), 4)),
    ]
}

/// Something that is likely, but not certain, to be wrong where it stands.
fn mistake() -> impl Strategy<Value = Vec<u8>> {
    let any_key = (0..9_u64, 0..8_u64).prop_flat_map(|(number, wire_type)| key(number, wire_type));
    let overlong = vec(0x80..=0xFF_u8, 9..12);
    prop_oneof![
        (any_key, vec(any::<u8>(), 0..10)).prop_map(|(key, value)| [key, value].concat()),
        (any::<u8>(), overlong, any::<u8>()).prop_map(|(key, value, last)| [vec![key], value, vec![last]].concat()),
        vec(any::<u8>(), 1..5),
    ]
}

/// Cuts a payload short, changes a byte or puts one in.
fn damaged(payload: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    (0..=payload.len(), any::<u8>(), 0..3).prop_map(move |(at, byte, how)| {
        let mut payload = payload.clone();
        match how {
            0 => payload.truncate(at),
            1 => payload.insert(at, byte),
            _ => payload.iter_mut().skip(at).take(1).for_each(|old| *old = byte),
        }
        payload
    })
}

fn key(number: u64, wire_type: u64) -> impl Strategy<Value = Vec<u8>> {
    varint(Just(number << 3 | wire_type))
}

fn delimited(content: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    content.prop_flat_map(|content| {
        varint(Just(content.len() as u64)).prop_map(move |length| [length, content.clone()].concat())
    })
}

/// A varint, at times with groups of zeros at its end, which are allowed up to ten bytes in all.
fn varint(value: impl Strategy<Value = u64>) -> impl Strategy<Value = Vec<u8>> {
    (value, prop_oneof![9 => Just(0), 1 => 0..11_usize]).prop_map(|(mut value, least_bytes)| {
        let mut bytes = Vec::new();
        while value >= 0x80 || bytes.len() + 1 < least_bytes {
            bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        bytes.push(value as u8);
        bytes
    })
}
