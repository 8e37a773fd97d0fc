//! The `weir` program. Everything is in the library's `app`.

fn main() -> std::process::ExitCode {
    weir::app::main()
}
