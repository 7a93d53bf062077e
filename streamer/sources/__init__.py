"""Where frames come from: network cameras, files, devices and the synthetic world."""
