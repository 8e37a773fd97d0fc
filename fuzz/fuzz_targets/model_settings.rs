//! Any text as a model's configuration, in each of its three forms. Nothing may panic, hang or overflow the stack.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir::model::settings::{parse_config_json, parse_config_pbtxt, parse_model_toml};

fuzz_target!(|text: &str| {
    drop(parse_model_toml(text, "model.toml"));
    drop(parse_config_pbtxt(text, "config.pbtxt"));
    drop(parse_config_json(text, "the request"));
});
