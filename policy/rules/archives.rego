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

findings contains {"subject": a.id, "message": sprintf("is older than the Release file of %s, which was locked before", [a["older-accepted"]])} if {
	some a in input.lock.archives
	a["older-accepted"] != ""
}

findings contains {"subject": a.id, "message": sprintf("was %s in the lock before", [a["changed-accepted"]])} if {
	some a in input.lock.archives
	a["changed-accepted"] != ""
}

findings contains {"subject": a.id, "message": sprintf("is signed by %s, and archive-keys names none of them for it", [concat(" and ", a.signers)])} if {
	count(input.settings["archive-keys"]) > 0
	some a in input.lock.archives
	count(a.signers) > 0
	count({s | some s in a.signers; pinned(a.id, s)}) == 0
}

pinned(id, signer) if {
	some pattern, keys in input.settings["archive-keys"]
	glob.match(pattern, null, id)
	signer in keys
}

findings contains {"subject": p.name, "message": sprintf("comes from %s, which the lock does not have", [p.archive])} if {
	some p in input.lock.packages
	p.archive != "project" # the rule debs is about those
	not p.archive in {a.id | some a in input.lock.archives}
}
