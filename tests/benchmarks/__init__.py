"""What benchmarks need beside the product: slow and obvious answers, fast enough to be asked millions of times."""
