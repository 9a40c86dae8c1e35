//! `winze devices`: this machine -> its devices, as `--device` names them.

use crate::console::{Console, Failure};
use serde_json::{Value, json};
use std::fmt::Write;

pub fn devices(as_json: bool, console: &Console) -> Result<(), Failure> {
    let devices = winze_runtime::devices();
    if as_json {
        let list: Vec<Value> = devices
            .iter()
            .map(|device| {
                json!({
                    "id": device.id, "name": device.name, "kind": device.kind, "driver": device.driver,
                    "features": device.features, "memory_bytes": device.memory_bytes,
                })
            })
            .collect();
        return console.result(&format!("{:#}\n", Value::from(list)));
    }
    let mut text = String::new();
    let width = devices.iter().map(|device| device.id.len()).max().unwrap_or(0);
    for device in &devices {
        let _ = write!(text, "{:width$}  {} ({}", device.id, device.name, device.kind);
        if !device.driver.is_empty() {
            let _ = write!(text, ", {}", device.driver);
        }
        if device.memory_bytes > 0 {
            let _ = write!(text, ", {:.1} GiB", device.memory_bytes as f64 / f64::from(1 << 30));
        }
        let _ = writeln!(text, ")\n{:width$}  features: {}", "", device.features.join(" "));
    }
    console.result(&text)
}
