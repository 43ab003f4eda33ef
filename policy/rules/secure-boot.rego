package isotrace.rules.secure_boot

rule := {"id": "secure-boot", "reason": "Firmware that checks signatures boots only a signed chain.", "requirement": ""}

findings contains {"subject": input.image.file, "message": "does not boot where Secure Boot is on: boot.secure-boot is off, or its chain is broken"} if {
	input.settings["secure-boot"]
	not input.image["secure-boot"]
}
