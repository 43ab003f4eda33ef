package isotrace.rules.archives

rule := {"id": "archives", "reason": "A package is only as good as the signature of its archive.", "requirement": ""}

findings contains {"subject": a.id, "message": "no key signed its Release file"} if {
	some a in input.lock.archives
	count(a.signers) == 0
}

findings contains {"subject": a.id, "message": "had expired when the lock was made"} if {
	some a in input.lock.archives
	a["expired-accepted"]
}

findings contains {"subject": p.name, "message": sprintf("comes from %s, which the lock does not have", [p.archive])} if {
	some p in input.lock.packages
	p.archive != "project" # the rule debs is about those
	not p.archive in {a.id | some a in input.lock.archives}
}
