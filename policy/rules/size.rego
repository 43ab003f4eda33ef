package isotrace.rules.size

rule := {"id": "size", "reason": "The image has to fit its medium.", "requirement": ""}

findings contains {"subject": input.image.file, "message": sprintf("has %d bytes, %d are allowed", [input.image.size, input.settings["max-image"]])} if {
	input.settings["max-image"] > 0
	input.image.size > input.settings["max-image"]
}
