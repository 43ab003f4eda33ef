package isotrace.rules.components

rule := {"id": "components", "reason": "Components of an archive differ in licence and support.", "requirement": ""}

findings contains {"subject": p.name, "message": sprintf("is in %s of %s", [p.component, p.archive])} if {
	some p in input.lock.packages
	p.set != "tools"
	p.archive != "project"
	not p.component in input.settings.components
}
