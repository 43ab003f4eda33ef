package isotrace.rules.debs

rule := {"id": "debs", "reason": "No archive's key has signed a package file of the project: somebody has to agree to it by name.", "requirement": ""}

findings contains {"subject": p.name, "message": sprintf("is %s of the project: no archive has it; the policy may name it under debs", [p.path])} if {
	some p in input.lock.packages
	p.archive == "project"
	not agreed(p.name)
}

agreed(name) if {
	some pattern in input.settings.debs
	glob.match(pattern, null, name)
}
