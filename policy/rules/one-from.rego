package isotrace.rules.one_from

rule := {"id": "one-from", "reason": "What another build stage left cannot be followed to where it came from.", "requirement": ""}

findings contains {"subject": s.of, "message": sprintf("shows %d build stages, from %s", [count(s.from), concat(", ", s.from)])} if {
	some s in input.base.stages
	count(s.from) > 1
}
