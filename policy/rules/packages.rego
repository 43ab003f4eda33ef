package isotrace.rules.packages

rule := {"id": "packages", "reason": "Some packages must not be in the image, or not as old.", "requirement": ""}

findings contains {"subject": p.name, "message": "is denied"} if {
	some p in input.lock.packages
	p.set == "target"
	some pattern in input.settings.packages.deny
	glob.match(pattern, null, p.name)
}

findings contains {"subject": p.name, "message": "is not allowed"} if {
	count(input.settings.packages.allow) > 0
	some p in input.lock.packages
	p.set == "target"
	not allowed(p.name)
}

findings contains {"subject": p.name, "message": sprintf("%s is older than %s", [p.version, p.below])} if {
	some p in input.lock.packages
	p.below != ""
}

allowed(name) if {
	some pattern in input.settings.packages.allow
	glob.match(pattern, null, name)
}
