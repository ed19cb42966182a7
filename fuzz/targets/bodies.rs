#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bt_server::parsers::bodies(bytes));
