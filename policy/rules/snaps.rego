package isotrace.rules.snaps

rule := {"id": "snaps", "reason": "A snap is software that no archive's key signs: it has to be a file of the project's own.", "requirement": ""}

# The project pins its own files by SHA-256; what a script or the base image brought
# came from nobody who is known.
findings contains {"subject": f.path, "message": sprintf("is a snap of origin %s: put it among the project's files, under overlay", [f.origin])} if {
	some f in input.tree.files
	f.part == "root"
	startswith(f.path, "/var/lib/snapd/")
	endswith(f.path, ".snap")
	not f.origin in {"archive", "overlay"}
}
