package isotrace.rules.lock_age

rule := {"id": "lock-age", "reason": "An old lock lacks the archives' security updates.", "requirement": ""}

findings contains {"subject": "isotrace.lock", "message": sprintf("is %d days old, %d are allowed", [input.lock["age-days"], input.settings["max-age"]])} if {
	input.settings["max-age"] > 0
	input.lock["age-days"] > input.settings["max-age"]
}
