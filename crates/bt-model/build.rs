//! Compiles the GPU's kernels to PTX for builds with the feature `cuda`; does nothing for others.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=src/ops/cuda");
    // Not a feature of ours: .cargo/cuda.toml sets it for the crate that binds CUDA, and src/gpu.rs asks.
    println!("cargo::rustc-check-cfg=cfg(feature, values(\"dynamic-loading\"))");
    #[cfg(feature = "cuda")]
    cudaforge::KernelBuilder::new()
        .source_files(["src/ops/cuda/kernels.cu", "src/ops/cuda/hopper.cu"])
        .watch(["src/ops/cuda/common.cuh"])
        .with_compute_override_arch("hopper.cu", "90a")
        .arg("-std=c++17")
        .arg("-O3")
        .build_ptx()?;
    Ok(())
}
