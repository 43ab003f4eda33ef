package isotrace.rules.protected

rule := {"id": "protected", "reason": "Protected files are as base image or package have them.", "requirement": ""}

findings contains {"subject": f.path, "message": sprintf("is %s", [f.origin])} if {
	some f in input.tree.files
	f.part == "root"
	not f.origin in {"archive", "base"}
	listed(f.path)
}

findings contains {"subject": path, "message": "was removed"} if {
	some path in input.tree.removed
	listed(path)
}

listed(path) if {
	some pattern in input.settings.protected
	glob.match(pattern, ["/"], path)
}
