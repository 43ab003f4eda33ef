#!/bin/sh
# Runs as root inside the root tree, without a network.
set -eu
echo "Welcome to $(cat /etc/hostname)." > /etc/motd
