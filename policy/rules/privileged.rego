package isotrace.rules.privileged

rule := {"id": "privileged", "reason": "Files that lend rights, or that all may change, are known one by one.", "requirement": ""}

findings contains {"subject": f.path, "message": sprintf("is %s, mode %s", [concat(" and ", f.special), f.mode])} if {
	some f in input.tree.files
	count(f.special) > 0
	not listed(f.path)
}

listed(path) if {
	some pattern in input.settings.privileged
	glob.match(pattern, ["/"], path)
}
