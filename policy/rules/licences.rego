package isotrace.rules.licences

rule := {"id": "licences", "reason": "What is handed on has to be licensed so that it may be.", "requirement": ""}

findings contains {"subject": p.name, "message": sprintf("%s is denied", [id])} if {
	some p in input.lock.packages
	p.set != "tools"
	some id in p["licence-ids"]
	some pattern in input.settings.licences.deny
	glob.match(pattern, null, id)
}

findings contains {"subject": p.name, "message": sprintf("%s is not allowed", [id])} if {
	count(input.settings.licences.allow) > 0
	some p in input.lock.packages
	p.set != "tools"
	some id in p["licence-ids"]
	not allowed(id)
}

findings contains {"subject": p.name, "message": "its licence is not known"} if {
	count(input.settings.licences.allow) > 0
	some p in input.lock.packages
	p.set != "tools"
	count(p["licence-ids"]) == 0
}

findings contains {"subject": t.file, "message": sprintf("%s is denied", [id])} if {
	some t in input.image["memory-tests"]
	some id in t["licence-ids"]
	some pattern in input.settings.licences.deny
	glob.match(pattern, null, id)
}

findings contains {"subject": t.file, "message": sprintf("%s is not allowed", [id])} if {
	count(input.settings.licences.allow) > 0
	some t in input.image["memory-tests"]
	some id in t["licence-ids"]
	not allowed(id)
}

allowed(id) if {
	some pattern in input.settings.licences.allow
	glob.match(pattern, null, id)
}
