package config

import "fmt"

// Starter is a commented config for isotrace init.
func Starter(name, suite string) string { return fmt.Sprintf(starter, name, suite) }

const starter = `# What the image shall be. isotrace lock turns it into exact content,
# isotrace build makes the image from that.
# Every key: docs/isotrace.schema.json
name: %[1]s
release: "0.1.0"

# Who makes the image, for its bills of materials.
# supplier: {name: Example Ltd, contact: security@example.org, url: "https://example.org/"}

# What packages are added to: a minimal system of a suite, or an image:
#   base: {image: "debian:%[2]s@sha256:..."}   of a registry
#   base: {oci: DIR}                          an OCI image layout
#   base: {archive: FILE}                     a file written by docker save
base: {bootstrap: %[2]s}

# Where packages come from. A mirror's address is taken from "mirrors" here,
# --mirror, ISOTRACE_MIRROR or the host's apt sources, in that order.
archives:
  - {suite: %[2]s, components: [main], signed-by: keys/debian-archive.asc}
  - {suite: %[2]s-updates, components: [main], signed-by: keys/debian-archive.asc}
  - {suite: %[2]s-security, components: [main], signed-by: keys/debian-archive.asc}

live: live-boot # or casper, on Ubuntu

packages:
  - linux-image-amd64
  - live-boot
  - systemd-sysv
  # With what it is there for, in the words of your own requirements:
  # - {name: openssh-server, requirements: [HLR-12]}

# Packages that no archive has, each pinned by its SHA-256; what they need comes from
# the archives:
# debs:
#   - {file: debs/agent_1.0_amd64.deb, sha256: "..."} # sha256sum prints it

# The project's own list of them, so that a wrong one is an error and one that
# nothing is there for is told. A CSV file whose first row is id,title,text, or
# ReqIF: docs/formats/requirements.md
# requirements-file: requirements.csv

# With the source packages of all that on a second medium, NAME-sources.iso:
# sources: true

# The project's own files: FROM is below this folder, TO is in the image.
# overlay:
#   - {from: files/, to: /}

hostname: %[1]s
# locale: en_GB.UTF-8        # needs the package locales
# timezone: Europe/Paris     # needs the package tzdata
# users:
#   - {name: operator, groups: [sudo], password-hash: "..."} # openssl passwd -6

boot:
  secure-boot: true # boot where Secure Boot is on, through the signed shim and GRUB
  serial: true # show the menu on the first serial port, too
  parameters: [console=tty0, "console=ttyS0,115200"]

# What the programs of packages may take of the machine that builds, before the build
# ends with an error:
# limits: {processes: 4096, memory: 8GiB, time: 6h, output: 256MiB}

# Besides the ISO, disks with the same system installed: vhd is what Azure takes.
# outputs: [iso, vhd]
`
