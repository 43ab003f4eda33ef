package isotrace.rules.base

rule := {"id": "base", "reason": "What the image starts from is one content, named by its digest.", "requirement": ""}

findings contains {"subject": "isotrace.lock", "message": "names no base image by digest, and the config has no bootstrap"} if {
	input.lock["base-image"] == ""
	not input.config.base.bootstrap
}

findings contains {"subject": input.base.image, "message": "is a base image that nobody has signed: the config has no base.signed-by"} if {
	input.settings["signed-base"]
	input.base.image != ""
	input.base.signer == ""
}
