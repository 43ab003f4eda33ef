package isotrace.rules.passwords

rule := {"id": "passwords", "reason": "A password that every copy of the image has is no secret.", "requirement": ""}

findings contains {"subject": a.name, "message": "has an empty password"} if {
	some a in input.tree.accounts
	a.password == "empty"
}

findings contains {"subject": a.name, "message": "has a password that everybody tries first"} if {
	some a in input.tree.accounts
	a["well-known"]
}

findings contains {"subject": a.name, "message": sprintf("has a password (%s)", [a.scheme])} if {
	some a in input.tree.accounts
	a.password == "hash"
	not a.name in input.settings.accounts
}
