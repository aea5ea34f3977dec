#!/bin/sh
# Debian packages that some tests want: FFmpeg's shared libraries, with which torchcodec decodes data sets' audio columns, and
# espeak-ng, which speaks the corpus of dialogues, and Chromium, in which the server's page is tried.
set -eu
missing=""
ldconfig -p | grep -q libavcodec.so || missing="ffmpeg"
ldconfig -p | grep -q libespeak-ng.so || missing="$missing espeak-ng"
command -v chromium >/dev/null || missing="$missing chromium"
if [ -z "$missing" ]; then
    exit 0
fi
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    echo "install these Debian packages for the tests marked 'system': $missing" >&2
    exit 1
fi
apt-get update -qq
# shellcheck disable=SC2086 # one word a package
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
