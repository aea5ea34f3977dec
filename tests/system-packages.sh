#!/bin/sh
# Debian packages that some tests want: FFmpeg's shared libraries, with which torchcodec decodes data sets' audio columns.
set -eu
if ldconfig -p | grep -q libavcodec.so; then
    exit 0
fi
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    echo "install FFmpeg's shared libraries (Debian: ffmpeg) for the tests marked 'system'" >&2
    exit 1
fi
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends ffmpeg >/dev/null
