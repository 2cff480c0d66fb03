package main

func Example() {
	main()
	// Output: web is created, its power is on, its console says "web login: "
}
