//! Puts ONNX Runtime into the binary: finds `libonnxruntime.so`, checks it, compresses it once, and tells the crate
//! where the result lies. It compiles nothing and never looks outside the official wheel or `WEIR_ONNXRUNTIME`.
//!
//! Everything is kept under `<target>/onnxruntime/`, so debug and release builds share one download and one
//! compression.

use std::error::Error;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use sha2::{Digest, Sha256};

const VERSION: &str = "1.31.1";

/// The official wheel for one architecture.
struct Wheel {
    platform: &'static str,
    sha256: &'static str,
    library_sha256: &'static str,
}

const X86_64: Wheel = Wheel {
    platform: "manylinux_2_28_x86_64",
    sha256: "5752bd508126ae7c49894d3b9d2e83f0c3d487319246d04c444b393308d7ad7f",
    library_sha256: "fc44112fbe06d7d689c57e11d3862031f64711007e4ee020f8eed5185fd2c1d3",
};

const AARCH64: Wheel = Wheel {
    platform: "manylinux_2_28_aarch64",
    sha256: "da05378364c44d4407e463982d2bf8d5e4cfea873283757e48beeb41df97b7f3",
    library_sha256: "8aa3b76b28c778a2b1dd660d34161adb1d508c9ccd04ff9dc80e26eca5df8467",
};

/// Hard compression is paid once for each library; decompression at start takes the same time at any level.
const ZSTD_LEVEL: i32 = 19;

/// What to do when the library cannot be had, appended to every failure.
const ADVICE: &str = "install python3 with pip, or set WEIR_ONNXRUNTIME to the path of a libonnxruntime.so (1.24 or \
                      newer), or build with --no-default-features to embed none";

/// Embeds the library when the feature asks for it.
pub(crate) fn embed() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build/onnxruntime.rs");
    println!("cargo:rerun-if-env-changed=WEIR_ONNXRUNTIME");
    if std::env::var_os("CARGO_FEATURE_BUNDLED_ONNXRUNTIME").is_none() {
        return Ok(());
    }
    let compressed = find_and_compress().map_err(|error| format!("ONNX Runtime: {error}; {ADVICE}"))?;
    println!("cargo:rerun-if-changed={}", compressed.display());
    println!("cargo:rustc-env=WEIR_ONNXRUNTIME_ZSTD={}", compressed.display());
    Ok(())
}

fn find_and_compress() -> Result<PathBuf, Box<dyn Error>> {
    let cache = cache_folder()?;
    if let Some(path) = std::env::var_os("WEIR_ONNXRUNTIME") {
        let path = PathBuf::from(path);
        println!("cargo:rerun-if-changed={}", path.display());
        let library = fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let digest = hex(&Sha256::digest(&library));
        return compress(&library, &cache.join(format!("given-{digest}.so.zst")));
    }
    let arch = std::env::var("CARGO_CFG_TARGET_ARCH")?;
    let target = (std::env::var("CARGO_CFG_TARGET_OS")?, std::env::var("CARGO_CFG_TARGET_ENV")?);
    if target != ("linux".to_owned(), "gnu".to_owned()) {
        return Err("there is an official wheel to take it from for Linux with glibc only".into());
    }
    let wheel = match arch.as_str() {
        "x86_64" => &X86_64,
        "aarch64" => &AARCH64,
        _ => return Err(format!("there is no official wheel to take it from for {arch}").into()),
    };
    let compressed = cache.join(format!("{VERSION}-{arch}-{}.so.zst", wheel.library_sha256));
    if compressed.exists() {
        return Ok(compressed);
    }
    let library = library_of_wheel(wheel, &cache.join(format!("{VERSION}-{arch}")))?;
    compress(&library, &compressed)
}

/// `<target>/onnxruntime`: `OUT_DIR` is `<target>[/<triple>]/<profile>/build/<package>/out`.
fn cache_folder() -> Result<PathBuf, Box<dyn Error>> {
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let target = out.ancestors().nth(4).ok_or("OUT_DIR is too short")?;
    let cache = target.join("onnxruntime");
    fs::create_dir_all(&cache)?;
    Ok(cache)
}

fn library_of_wheel(wheel: &Wheel, folder: &Path) -> Result<Vec<u8>, Box<dyn Error>> {
    fs::create_dir_all(folder)?;
    let file = folder.join(format!("onnxruntime-{VERSION}-cp311-cp311-{}.whl", wheel.platform));
    if !file.exists() {
        run(Command::new("python3")
            .args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"])
            .args(["--only-binary=:all:", "--implementation", "cp", "--python-version", "3.11"])
            .args(["--abi", "cp311", "--platform", wheel.platform])
            .arg("--dest")
            .arg(folder)
            .arg(format!("onnxruntime=={VERSION}")))?;
    }
    check_digest(
        &fs::read(&file).map_err(|error| format!("{}: {error}", file.display()))?,
        wheel.sha256,
        &file,
    )?;
    run(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(&file).arg(folder.join("wheel")))?;
    let path = folder.join(format!("wheel/onnxruntime/capi/libonnxruntime.so.{VERSION}"));
    let library = fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    check_digest(&library, wheel.library_sha256, &path)?;
    fs::remove_dir_all(folder.join("wheel"))?;
    Ok(library)
}

/// Compresses through a temporary name, because another profile's build may be doing the same.
fn compress(library: &[u8], to: &Path) -> Result<PathBuf, Box<dyn Error>> {
    if !to.exists() {
        let mut encoder = zstd::bulk::Compressor::new(ZSTD_LEVEL)?;
        // The size in the frame lets the reader reserve the right memory at once.
        encoder.include_contentsize(true)?;
        encoder.include_checksum(true)?;
        let temporary = to.with_extension(format!("{}.part", std::process::id()));
        let mut file = fs::File::create(&temporary)?;
        file.write_all(&encoder.compress(library)?)?;
        // cargo runs a script again when what it named is newer than the script's start, as what it just made would be:
        // the second build of a new clone would compile the crate anew. The name holds the content's digest.
        file.set_modified(SystemTime::UNIX_EPOCH)?;
        fs::rename(&temporary, to)?;
    }
    Ok(to.to_owned())
}

fn run(command: &mut Command) -> Result<(), Box<dyn Error>> {
    let output =
        command.output().map_err(|error| format!("{:?} did not start: {error}", command.get_program()))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(format!("{command:?} failed ({}): {}", output.status, text.trim()).into())
}

fn check_digest(data: &[u8], expected: &str, path: &Path) -> Result<(), Box<dyn Error>> {
    let found = hex(&Sha256::digest(data));
    if found == expected {
        return Ok(());
    }
    Err(format!(
        "{} has the SHA-256 {found}, expected {expected}; delete it to fetch it again",
        path.display()
    )
    .into())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
