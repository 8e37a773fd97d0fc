#!/bin/sh
# Requests per second and latency of Weir's doors against bare servers, as ratios.
#
#   benches/run.sh [ROUNDS] [SECONDS]
#
# The server has core 0 and the generator core 1. Candidate and baseline take turns, so that a machine that slows down
# slows both. Needs: cargo build --release --bins --examples; h2load and wrk (Debian: nghttp2-client, wrk); python3.
# Besides requests per second it prints the server's CPU time per request, which other load on the machine disturbs less.
set -eu
cd "$(dirname "$0")/.."
exec python3 benches/rig/compare.py "$@"
